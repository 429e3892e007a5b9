"""Does the model have positions for what a configuration asks of it?"""

from collections.abc import Mapping

from collapse_lm.config import Config
from collapse_lm.errors import Problem, UserError
from collapse_lm.experiment.prompts import Prompts
from collapse_lm.models.load import LanguageModel

_LONGEST_DEFAULT = 1024  # positions; the published perplexities of GPT-2 are at this context


def default_context(model: LanguageModel) -> int:
    """Context of an evaluation that names none: what the model has, at most 1,024 tokens."""
    return min(model.max_positions or _LONGEST_DEFAULT, _LONGEST_DEFAULT)


def evaluation_lengths(config: Config) -> dict[str, int]:
    """Positions that the evaluation asks for, by key."""
    return {"evaluation.context": config.evaluation.context}


def sample_lengths(config: Config, prompts: Prompts) -> dict[str, int]:
    """Positions that sampling and training ask for, by key."""
    sampling, training = config.sampling, config.training
    whole = prompts.longest + sampling.max_new_tokens - 1
    is_sliding = sampling.context == "sliding"
    return {
        "sampling.block_size": sampling.block_size if is_sliding else 0,
        "sampling.max_new_tokens": 0 if is_sliding and training.window else whole,
        "training.window": training.window or 0,
    }


def check_positions(model: LanguageModel, lengths: Mapping[str, int]) -> None:
    """Refuse lengths that the model has no positions for.

    Raises:
        UserError: naming every key that asks for too much.
    """
    limit, name = model.max_positions, model.provenance.reference
    problems = [
        Problem(
            key,
            f"{length} positions",
            f"at most {limit}, the positions of {name}",
            f"{_smaller(key, limit)}, or a model with more positions",
        )
        for key, length in lengths.items()
        if limit is not None and length > limit
    ]
    if problems:
        raise UserError(problems)


def _smaller(key: str, limit: int) -> str:
    """The value that fits; before that of a sample stands its prompt."""
    is_whole = key != "sampling.max_new_tokens"
    return f"--set {key}={limit}" if is_whole else f"a smaller {key}"
