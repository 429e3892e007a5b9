"""From a configuration to the parts of an experiment: model, corpora, source, learner.

Loads and checks everything that a run needs and creates nothing. Knows nothing of
the run directory.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collapse_lm import rng
from collapse_lm.config import Config
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import Problem, UserError
from collapse_lm.experiment.learner import (
    Step,
    choose_segment,
    make_optimizer,
    retokenize,
    train_step,
)
from collapse_lm.experiment.sources import OwnSamples
from collapse_lm.inference import Network, inference_network
from collapse_lm.loop import Experiment, RunState
from collapse_lm.machine.allocator import keep_freed_memory
from collapse_lm.machine.compute import Compute, choose_compute
from collapse_lm.measures.rule import CollapseRule
from collapse_lm.measures.validation import CorpusLoss, evaluate
from collapse_lm.models.load import LanguageModel, load_model
from collapse_lm.sampling import Draw


@dataclass(frozen=True)
class Parts:
    """What a configuration becomes before the first update."""

    model: LanguageModel
    compute: Compute
    evaluation: tuple[EvaluationSet, ...]
    state: RunState
    experiment: Experiment


@dataclass(frozen=True)
class ReadyModel:
    """A model on its device, with the weights that sample and are evaluated."""

    model: LanguageModel
    compute: Compute
    working: Network


def ready_model(config: Config) -> ReadyModel:
    """Load the model of a configuration in its precision."""
    keep_freed_memory()
    model = load_model(config.model)
    compute = choose_compute(config.precision)
    model.network.to(compute.device)
    return ReadyModel(model, compute, inference_network(model.network, compute.precision))


def evaluation_sets(config: Config, model: LanguageModel) -> tuple[EvaluationSet, ...]:
    """Load, tokenize and window the corpora of a configuration."""
    settings = config.evaluation
    return tuple(
        EvaluationSet.build(
            load_corpus(reference),
            model.tokenizer,
            model.start_token,
            settings.context,
            settings.stride,
            settings.tokens,
        )
        for reference in settings.corpora
    )


def own_samples(config: Config, model: LanguageModel) -> OwnSamples:
    """The source of a configuration."""
    return OwnSamples(config.sampling, prompt_ids(config, model), model.eos_token, config.seed)


def prepare(config: Config) -> Parts:
    """Load and check everything that a run needs; create nothing.

    Raises:
        UserError: for a model or corpus that cannot be had, or that does not fit.
    """
    for reference in config.evaluation.corpora:
        load_corpus(reference)  # a missing file is told before a model is loaded
    ready = ready_model(config)
    model = ready.model
    check_positions(model, {**sample_lengths(config, model), **evaluation_lengths(config)})
    evaluation = evaluation_sets(config, model)
    state = RunState(
        network=model.network,
        working=ready.working,
        optimizer=make_optimizer(model.network, config.training),
    )
    experiment = Experiment(
        source=own_samples(config, model),
        learner=SampleLearner(config, model, ready.compute),
        evaluate=lambda network: evaluate_all(network, evaluation),
        decode=lambda samples: [decode(model, ids) for ids in samples],
        rule=CollapseRule(**config.collapse.model_dump(exclude={"stop", "aftermath"})),
        max_updates=config.run.max_updates,
        evaluate_every=config.evaluation.every,
        stop_after_collapse=config.collapse.aftermath if config.collapse.stop else None,
    )
    return Parts(model, ready.compute, evaluation, state, experiment)


@dataclass(frozen=True)
class SampleLearner:
    """The paper's step: AdamW on the samples, whole or one window of each."""

    config: Config
    model: LanguageModel
    compute: Compute

    def learn(self, state: RunState, draw: Draw, update: int) -> Step:
        """Take `steps_per_update` steps; loss and gradient norm are those of the first."""
        training = self.config.training
        numbers = rng.stream(self.config.seed, "window", update)
        samples = draw.samples
        if training.retokenize:
            longest = (self.model.max_positions or sys.maxsize) - len(draw.prompt) + 1
            samples = tuple(retokenize(self.model.tokenizer, ids)[:longest] for ids in samples)
        steps: list[Step] = []
        while len(steps) < training.steps_per_update and all(step.applied for step in steps):
            segments = [
                choose_segment(draw.prompt, ids, training.window, numbers) for ids in samples
            ]
            steps.append(
                train_step(
                    state.network, state.optimizer, segments, self.compute, training.grad_clip
                )
            )
        state.working.refresh()
        return Step(steps[0].loss, steps[0].grad_norm, steps[-1].applied)


def evaluate_all(network: Network, evaluation: Sequence[EvaluationSet]) -> dict[str, CorpusLoss]:
    """Score every evaluation set, by corpus name."""
    return {data.corpus.name: evaluate(network, data) for data in evaluation}


def prompt_ids(config: Config, model: LanguageModel) -> list[int]:
    """Tokenize the prompt; an empty one is the model's start token."""
    if not config.sampling.prompt:
        return [model.start_token]
    encoded = model.tokenizer(config.sampling.prompt, add_special_tokens=False)
    if not encoded["input_ids"]:
        raise UserError.single(
            "sampling.prompt", repr(config.sampling.prompt), "text that the tokenizer knows"
        )
    return list(encoded["input_ids"])


def decode(model: LanguageModel, ids: Sequence[int]) -> str:
    """Decode token ids, special tokens spelled out."""
    return str(
        model.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    )


def evaluation_lengths(config: Config) -> dict[str, int]:
    """Positions that the evaluation asks for, by key."""
    return {"evaluation.context": config.evaluation.context}


def sample_lengths(config: Config, model: LanguageModel) -> dict[str, int]:
    """Positions that sampling and training ask for, by key."""
    sampling, training = config.sampling, config.training
    whole = len(prompt_ids(config, model)) + sampling.max_new_tokens - 1
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
            f"a smaller {key}, or a model with more positions",
        )
        for key, length in lengths.items()
        if limit is not None and length > limit
    ]
    if problems:
        raise UserError(problems)
