"""Does the model have positions for what a configuration asks of it?"""

from collections.abc import Mapping

import torch

from collapse_lm.config import Config
from collapse_lm.errors import Problem, UserError
from collapse_lm.experiment.prompts import Prompts
from collapse_lm.inference import is_written_out
from collapse_lm.models.load import LanguageModel
from collapse_lm.models.own_code import own_code

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
    longest = max(prompts.longest, config.source.longest_prompt(sampling.max_new_tokens))
    whole = longest + sampling.max_new_tokens - 1
    is_sliding = sampling.context == "sliding"
    return {
        "sampling.block_size": sampling.block_size if is_sliding else 0,
        "sampling.max_new_tokens": 0 if is_sliding and training.window else whole,
        "training.window": training.window or 0,
    }


def check_positions(model: LanguageModel, lengths: Mapping[str, int]) -> None:
    """Refuse lengths that the model has no positions for.

    A model whose passes are not our own code is asked, too: one pass of the longest.

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
    if not (is_written_out(model.network.config) or model.network.training):
        _try(model, lengths)


def _try(model: LanguageModel, lengths: Mapping[str, int]) -> None:
    """Read as many tokens as the longest of the lengths."""
    key, longest = max(lengths.items(), key=lambda item: item[1])
    ids = torch.full((1, max(1, longest)), model.start_token, device=model.network.device)
    doing = f"{longest} positions ({key})"
    with own_code(model.provenance.reference, doing), torch.inference_mode():
        model.network(input_ids=ids, use_cache=False, logits_to_keep=1)


def _smaller(key: str, limit: int) -> str:
    """The value that fits; before that of a sample stands its prompt."""
    if key.startswith("--"):  # an option of a command, no key
        return f"{key} {limit}"
    is_whole = key != "sampling.max_new_tokens"
    return f"--set {key}={limit}" if is_whole else f"a smaller {key}"
