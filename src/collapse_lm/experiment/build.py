"""From a configuration to the parts of an experiment: model, corpora, source, learner.

Loads and checks everything that a run needs and creates nothing. Knows nothing of
the run directory.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from collapse_lm.config import Config
from collapse_lm.corpora.corpus import Corpus, load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.experiment.base_samples import BaseSamples
from collapse_lm.experiment.ema import AveragedLosses
from collapse_lm.experiment.krause import gradient_statistics
from collapse_lm.experiment.learner import Learner
from collapse_lm.experiment.lengths import check_positions, evaluation_lengths, sample_lengths
from collapse_lm.experiment.models import Stateful
from collapse_lm.experiment.optimizer import OptimizerMemory, make_optimizer
from collapse_lm.experiment.probe import Probe
from collapse_lm.experiment.prompts import Prompts, make_prompts
from collapse_lm.experiment.ready import (
    ReadyModel,
    Weights,
    first_weights,
    models_of,
    ready_model,
)
from collapse_lm.experiment.restart import Restart
from collapse_lm.experiment.sources.own import OwnSamples, Sampling
from collapse_lm.experiment.trial import compute_of_steps
from collapse_lm.inference import inference_network
from collapse_lm.loop import Experiment, RunState
from collapse_lm.machine.compute import Phases
from collapse_lm.measures.base import Measure
from collapse_lm.measures.validation import ValidationLosses
from collapse_lm.models.embeddings import check_ids
from collapse_lm.models.load import LanguageModel
from collapse_lm.models.tokens import own_start, start_token, unknown_ids
from collapse_lm.observers.base import Observer
from collapse_lm.observers.guard import build_all
from collapse_lm.observers.trackers.choose import require_trackers

_LOG = logging.getLogger(__name__)
_PART = 16  # samples of the base model that are drawn together


@dataclass(frozen=True)
class Context:
    """What a part may use of the run that it is built for.

    Attributes:
        config: of the run.
        model: network (the effective one: what is trained, unless `training.ema` or
            `training.lora` say otherwise), tokenizer and provenance.
        phases: device and precision.
        prompts: what stands before each sample (`prompts.of(update, count)`: token ids).
        corpora_read: each corpus that a part has asked for, by name, without its text.
    """

    config: Config
    model: LanguageModel
    phases: Phases
    prompts: Prompts
    corpora_read: dict[str, Corpus] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Of the run; streams of random numbers are derived from it (`collapse_lm.rng`)."""
        return self.config.seed

    @property
    def start_token(self) -> int:
        """Stands before a text without a prompt."""
        config, model = self.config.sampling.start_token, self.model
        reference = model.provenance.reference
        return start_token(config, reference, model.network, model.tokenizer, model.start_token)

    def corpus(self, reference: str) -> Corpus:
        """A corpus by its name (`sotu-train`) or `text:PATH`: text, hash, licence.

        Raises:
            UserError: for one that cannot be had.
        """
        found = load_corpus(reference)
        self.corpora_read[found.name] = replace(found, text="")
        return found

    def evaluation_set(self, reference: str, **windows: Any) -> EvaluationSet:
        """A corpus, tokenized, with the windows of the evaluation; `windows` are other ones.

        Args:
            reference: of the corpus.
            windows: changes to the section `evaluation`.

        Raises:
            UserError: for a corpus that cannot be had, or that does not fit the model.
        """
        settings = self.config.evaluation.model_copy(update=windows)
        config = self.config.model_copy(update={"evaluation": settings})
        if windows:
            check_positions(self.model, {"measures": settings.context})
        return evaluation_sets(config, self.model, [self.corpus(reference)])[0]

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text, without special tokens.

        Raises:
            UserError: for a token that the model has no embedding for.
        """
        network, tokenizer = self.model.network, self.model.tokenizer
        ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        check_ids(f"the text {text[:60]!r}", ids, network, tokenizer)
        return ids

    def start_of(self, text: str) -> tuple[int, ...]:
        """Token ids that stand before those of a text (see `sampling.prompt_start`)."""
        is_wanted = self.config.sampling.prompt_start == "auto"
        return own_start(self.model.tokenizer, text) if is_wanted else ()

    def sampling(self, **changes: Any) -> Sampling:
        """How the run draws samples; `changes` are to fields of `Sampling`."""
        config, model = self.config.sampling, self.model
        stop = model.eos_token if config.stop_at_eos else None
        all_rows = config.vocabulary == "model"
        excluded = () if all_rows else unknown_ids(model.network, model.tokenizer)
        plain = Sampling(config, self.prompts, stop, self.seed, excluded=excluded)
        return replace(plain, **changes)


@dataclass(frozen=True)
class Parts:
    """What a configuration becomes before the first update."""

    context: Context
    evaluation: tuple[EvaluationSet, ...]
    state: RunState
    experiment: Experiment
    observers: tuple[Observer, ...]

    @property
    def model(self) -> LanguageModel:
        """Network, tokenizer and provenance."""
        return self.context.model

    @property
    def phases(self) -> Phases:
        """Device and precision."""
        return self.context.phases


def load_corpora(config: Config) -> tuple[Corpus, ...]:
    """Read the validation texts of a configuration, each once."""
    return tuple(load_corpus(reference) for reference in config.evaluation.corpora)


def evaluation_sets(
    config: Config, model: LanguageModel, corpora: Sequence[Corpus]
) -> tuple[EvaluationSet, ...]:
    """Tokenize and window corpora as a configuration asks."""
    settings = config.evaluation
    restarts = settings.start_token == "every"
    windows = (settings.context, settings.stride, settings.tokens, restarts)
    sets = tuple(
        EvaluationSet.build(corpus, model.tokenizer, model.start_token, *windows)
        for corpus in corpora
    )
    for data in sets:
        where, highest = f"corpus {data.corpus.name}", int(data.ids.max())
        check_ids(where, [highest], model.network, model.tokenizer)
    return sets


def context_of(config: Config, ready: ReadyModel) -> Context:
    """Make the context that parts are built in; reads the prompts."""
    bare = Context(config, ready.model, ready.phases, Prompts(((0,),), config.seed))
    prompts = make_prompts(
        config.sampling, config.seed, bare.encode, bare.start_token, bare.start_of
    )
    for ids in prompts.ids:
        check_ids("sampling", ids, ready.model.network, ready.model.tokenizer)
    return replace(bare, prompts=prompts)


def own_samples(config: Config, ready: ReadyModel) -> OwnSamples:
    """The source `own` of a configuration, without the rest of a run."""
    context = context_of(config, ready)
    check_positions(ready.model, sample_lengths(config, context.prompts))
    return OwnSamples(context.sampling())


def prepare(
    config: Config, phases: Phases | None = None, *, ready: ReadyModel | None = None
) -> Parts:
    """Load and check everything that a run needs; create nothing.

    Args:
        config: of the run.
        phases: device and precision, where they are known already (a resume).
        ready: its model, untrained, where that is loaded already.

    Raises:
        UserError: for a model, corpus or tracker that cannot be had, or that does not fit.
    """
    require_trackers(config.run.trackers)
    corpora = load_corpora(config)  # a missing file is told before a model is loaded
    ready = ready or ready_model(config, phases)
    context = context_of(config, ready)
    lengths = {**sample_lengths(config, context.prompts), **evaluation_lengths(config)}
    check_positions(ready.model, lengths)
    evaluation = evaluation_sets(config, ready.model, corpora)
    experiment = _experiment(context, evaluation, ready.weights)
    return Parts(
        context=context,
        evaluation=evaluation,
        state=RunState(models_of(config, ready), _survivors(experiment, ready.weights)),
        experiment=experiment,
        observers=build_all(config.observers),
    )


def _experiment(
    context: Context, evaluation: Sequence[EvaluationSet], weights: Weights
) -> Experiment:
    config = context.config
    measures: list[Measure] = [ValidationLosses(evaluation, config.evaluation.every)]
    measures += [measure.build(context) for measure in config.measures]
    measures += _base_samples(context)
    if weights.reported is not None:
        averaged = inference_network(weights.reported, context.phases.evaluation)
        measures.append(AveragedLosses(averaged, evaluation, config.evaluation.every))
    learner = _learner(context, weights.trained)
    base = first_weights(config, context.phases.device)
    return Experiment(
        source=config.source.build(context),
        learner=learner,
        decode=lambda texts: [decode(context.model, ids) for ids in texts],
        rule=config.collapse,
        max_updates=config.run.max_updates,
        probe=_probe(context),
        measures=measures,
        stop_after_collapse=config.collapse.aftermath if config.collapse.stop else None,
        aftermath_dose=config.collapse.aftermath_dose,
        restart=Restart(learner.optimizer, learner.objective, base, config.seed),
    )


def _learner(context: Context, network: Any) -> Learner:
    training = context.config.training
    optimizer = make_optimizer(
        network, training.learning_rate, training.weight_decay, training.optimizer
    )
    return Learner(
        training=training,
        optimizer=optimizer,
        objective=context.config.objective.build(context),
        tokenizer=context.model.tokenizer,
        max_positions=context.model.max_positions,
        compute=compute_of_steps(replace(context.model, network=network), context.phases.steps),
        seed=context.seed,
        statistics=gradient_statistics(context, optimizer),
    )


def _probe(context: Context) -> Probe:
    config = context.config
    samples = config.probe.samples or config.sampling.batch_size
    if config.source.is_own and samples == config.sampling.batch_size:
        return Probe(config.probe.every)
    return Probe(config.probe.every, _drawn_apart(context, samples))


def _base_samples(context: Context) -> list[Measure]:
    config, count = context.config, context.config.collapse.base_samples
    if not count:
        return []
    drawn, probe = _drawn_apart(context, min(count, _PART)), config.probe.samples
    probe = probe or config.sampling.batch_size
    return [BaseSamples(drawn, count, config.collapse, probe)]


def _drawn_apart(context: Context, samples: int) -> OwnSamples:
    """Samples that are not trained on, from a stream of their own."""
    settings = context.config.sampling.model_copy(update={"batch_size": samples})
    return OwnSamples(context.sampling(config=settings, purpose="probe"))


def _survivors(experiment: Experiment, weights: Weights) -> dict[str, Stateful]:
    """What a checkpoint must hold beside the weights, by name."""
    learner = experiment.learner
    named: dict[str, Any] = {
        "optimizer": OptimizerMemory(weights.trained, learner.optimizer),
        "source": experiment.source,
        "objective": learner.objective,
    }
    named |= {f"measure{place}": measure for place, measure in enumerate(experiment.measures)}
    named["ema"] = weights.average
    return {name: part for name, part in named.items() if isinstance(part, Stateful)}


def decode(model: LanguageModel, ids: Sequence[int]) -> str:
    """Decode token ids, special tokens spelled out."""
    return str(
        model.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    )
