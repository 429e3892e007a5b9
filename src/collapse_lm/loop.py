"""The self-training loop of Herel and Mikolov (2024), section 2.

    sample  s_u from the current model         (source)
    loss    and step on it                     (learner)
    evaluate the new model on real text        (evaluate)
    judge   the series so far                  (collapse rule)
    yield   the record

There is one loop. A new way to choose text is a new source; nothing here knows of
files, configuration or printing.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from collapse_lm.experiment.learner import Step
from collapse_lm.experiment.sources import Source
from collapse_lm.inference import Network
from collapse_lm.measures.rule import CollapseRule, Observation, judge
from collapse_lm.measures.text import measure_samples
from collapse_lm.measures.validation import CorpusLoss
from collapse_lm.rundir.rows import UpdateRecord
from collapse_lm.sampling import Draw


@dataclass
class RunState:
    """All that survives an update; saving it is what makes a run resumable.

    Attributes:
        network: the master weights θ_u, float32.
        working: the same weights in the precision of the run, for sampling and
            evaluation.
        optimizer: over the parameters of `network`.
        update: u, the updates done so far.
    """

    network: Any
    working: Network
    optimizer: torch.optim.Optimizer
    update: int = 0


class Learner(Protocol):
    """Takes the optimizer steps of one update on what was drawn for it."""

    def learn(self, state: RunState, draw: Draw, update: int) -> Step:
        """Change `state.network`, refresh `state.working`, return the outcome."""
        ...


@dataclass(frozen=True)
class Experiment:
    """The parts that stay the same over a run.

    Attributes:
        source: decides the text of each update.
        learner: the optimizer steps.
        evaluate: validation losses of a network, by corpus.
        decode: token ids of samples to texts.
        rule: the collapse rule.
        max_updates: u of the last update, unless the run ends before.
        evaluate_every: updates between evaluations.
        stop_after_collapse: updates to go on for once the rule is met; None goes on to
            `max_updates`.
    """

    source: Source
    learner: Learner
    evaluate: Callable[[Network], Mapping[str, CorpusLoss]]
    decode: Callable[[Sequence[Sequence[int]]], Sequence[str]]
    rule: CollapseRule
    max_updates: int
    evaluate_every: int = 1
    stop_after_collapse: int | None = 0


def self_train(
    state: RunState, experiment: Experiment, series: Sequence[Observation] = ()
) -> Iterator[UpdateRecord]:
    """Train a model on its own text; yield the record of every update.

    A fresh state yields row 0, the base model, first. The iterator ends at the
    collapse, at `max_updates`, or at a step whose loss or gradient is not finite
    (which is withheld from the weights). Between two records the state is whole, so
    a caller may stop or save there.

    Args:
        state: changed in place.
        experiment: the parts of the run.
        series: the observations of earlier updates, for a state that has some.
    """
    seen = list(series)
    if state.update == 0:
        clock = Stopwatch()
        with clock.time("evaluate"):
            validation = experiment.evaluate(state.working)
        yield UpdateRecord(0, validation=_fields(validation), seconds=clock.seconds)
    while state.update < _last_update(seen, experiment):
        update, clock = state.update + 1, Stopwatch()
        with clock.time("sample"):
            draw = experiment.source.draw(state.working, update)
        with clock.time("train"):
            step = experiment.learner.learn(state, draw, update)
        state.update = update

        texts = experiment.decode(draw.samples)
        text = measure_samples(draw.samples, texts)
        seen.append(Observation(update, text.loop_share, text.seq_rep_4, step.loss))
        is_last = not step.applied or update >= _last_update(seen, experiment)

        validation = {}
        with clock.time("evaluate"):
            if is_last or update % experiment.evaluate_every == 0:
                validation = experiment.evaluate(state.working)
        yield UpdateRecord(
            update=update,
            train_loss=step.loss,
            grad_norm=step.grad_norm,
            lr=state.optimizer.param_groups[0]["lr"],
            tokens=draw.tokens,
            validation=_fields(validation),
            text=text,
            entropy=draw.entropy,
            seconds=clock.seconds,
            forward_passes=draw.forward_passes,
            applied=step.applied,
            prompt=draw.prompt,
            samples=draw.samples,
            texts=tuple(texts),
        )
        if is_last:
            return


def _last_update(series: Sequence[Observation], experiment: Experiment) -> int:
    """The update with which a run ends, as far as its series tells."""
    verdict = judge(series, experiment.rule)
    if experiment.stop_after_collapse is None or verdict.collapse_update is None:
        return experiment.max_updates
    rule_met = verdict.collapse_update + experiment.rule.patience - 1
    return min(experiment.max_updates, rule_met + experiment.stop_after_collapse)


def _fields(validation: Mapping[str, CorpusLoss]) -> dict[str, dict[str, float]]:
    return {name: asdict(loss) for name, loss in validation.items()}


class Stopwatch:
    """Wall time in seconds of the named phases of one update."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, phase: str) -> Iterator[None]:
        """Time the body of a with statement."""
        begin = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - begin
