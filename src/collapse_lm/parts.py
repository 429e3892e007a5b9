"""From a configuration to the parts of an experiment: model, corpora, source, learner.

Loads and checks everything that a run needs and creates nothing. Knows nothing of
the run directory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collapse_lm import rng
from collapse_lm.config import Config
from collapse_lm.data.corpus import load_corpus
from collapse_lm.errors import Problem, UserError
from collapse_lm.evaluation import CorpusLoss, EvaluationSet, evaluate
from collapse_lm.loop import Experiment, RunState
from collapse_lm.metrics.collapse import CollapseRule
from collapse_lm.models.load import LanguageModel, load_model
from collapse_lm.precision import Compute, WorkingWeights, choose_compute
from collapse_lm.sampling import Draw
from collapse_lm.sources import OwnSamples
from collapse_lm.training import (
    Step,
    choose_segment,
    make_optimizer,
    retokenize,
    train_step,
)


@dataclass(frozen=True)
class Parts:
    """What a configuration becomes before the first update."""

    model: LanguageModel
    compute: Compute
    evaluation: tuple[EvaluationSet, ...]
    state: RunState
    experiment: Experiment


def prepare(config: Config) -> Parts:
    """Load and check everything that a run needs; create nothing.

    Raises:
        UserError: for a model or corpus that cannot be had, or that does not fit.
    """
    corpora = [load_corpus(reference) for reference in config.evaluation.corpora]
    model = load_model(config.model)
    check_positions(config, model)
    compute = choose_compute(config.precision)
    model.network.to(compute.device)
    settings = config.evaluation
    evaluation = tuple(
        EvaluationSet(
            corpus,
            model.tokenizer,
            model.start_token,
            settings.context,
            settings.stride,
            settings.tokens,
        )
        for corpus in corpora
    )
    state = RunState(
        network=model.network,
        working=WorkingWeights(model.network, compute.precision),
        optimizer=make_optimizer(model.network, config.training),
    )
    experiment = Experiment(
        source=OwnSamples(config.sampling, prompt_ids(config, model), model.eos_token, config.seed),
        learner=SampleLearner(config, model, compute),
        evaluate=lambda network: evaluate_all(network, evaluation),
        decode=lambda samples: [decode(model, ids) for ids in samples],
        rule=CollapseRule(**config.collapse.model_dump(exclude={"stop"})),
        max_updates=config.run.max_updates,
        evaluate_every=config.evaluation.every,
        stop_at_collapse=config.collapse.stop,
    )
    return Parts(model, compute, evaluation, state, experiment)


@dataclass(frozen=True)
class SampleLearner:
    """The paper's step: AdamW on the samples, whole or one window of each."""

    config: Config
    model: LanguageModel
    compute: Compute

    def learn(self, state: RunState, draw: Draw, update: int) -> Step:
        """Take `steps_per_update` steps; the outcome is that of the first."""
        training = self.config.training
        numbers = rng.stream(self.config.seed, "window", update)
        samples = draw.samples
        if training.retokenize:
            samples = tuple(retokenize(self.model.tokenizer, ids) for ids in samples)
        steps = []
        for _ in range(training.steps_per_update):
            segments = [
                choose_segment(draw.prompt, ids, training.window, numbers) for ids in samples
            ]
            steps.append(
                train_step(
                    state.network, state.optimizer, segments, self.compute, training.grad_clip
                )
            )
        state.working.refresh()
        return Step(steps[0].loss, steps[0].grad_norm, all(step.applied for step in steps))


def evaluate_all(network: Any, evaluation: Sequence[EvaluationSet]) -> dict[str, CorpusLoss]:
    """Score every evaluation set, by corpus name."""
    return {data.corpus.name: evaluate(network, data) for data in evaluation}


def prompt_ids(config: Config, model: LanguageModel) -> list[int]:
    """Tokenize the prompt; an empty one is the model's start token."""
    if not config.sampling.prompt:
        return [model.start_token]
    encoded = model.tokenizer(config.sampling.prompt, add_special_tokens=False)
    return list(encoded["input_ids"])


def decode(model: LanguageModel, ids: Sequence[int]) -> str:
    """Decode token ids, special tokens spelled out."""
    return str(
        model.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    )


def check_positions(config: Config, model: LanguageModel) -> None:
    """Refuse lengths that the model has no positions for.

    Raises:
        UserError: naming every key that asks for too much.
    """
    limit = model.max_positions
    if limit is None:
        return
    prompt = len(prompt_ids(config, model))
    sampling, training = config.sampling, config.training
    whole = prompt + sampling.max_new_tokens - 1
    is_sliding = sampling.context == "sliding"
    wanted = {
        "evaluation.context": config.evaluation.context,
        "sampling.block_size": sampling.block_size if is_sliding else 0,
        "sampling.max_new_tokens": 0 if is_sliding and training.window else whole,
        "training.window": training.window or 0,
    }
    problems = [
        Problem(
            key,
            f"{length} positions",
            f"at most {limit}, the positions of {config.model}",
            f"--set {key}=N with a smaller N, or a model with more positions",
        )
        for key, length in wanted.items()
        if length > limit
    ]
    if problems:
        raise UserError(problems)
