"""The self-training loop of Herel and Mikolov (2024), section 2.

    sample  the text of the update             (source)
    probe   what the update is judged by       (probe: under source own the same samples)
    restart a new model                        (where a generation begins that has one)
    learn   step on the text                   (learner, objective, optimizer)
    judge   the text metrics so far            (collapse rule)
    measure the new model                      (measures: validation losses, ...)
    yield   the record

There is one loop of experiments. A new way to choose text is a new source, a new loss an
objective, a new number a measure; nothing here knows of files, configuration or printing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from collapse_lm._util.stopwatch import Stopwatch
from collapse_lm.config.sections import CollapseRule
from collapse_lm.experiment.batch import Batch, Record, checked
from collapse_lm.experiment.facts import add, before_step, facts, is_due, marked, spelled
from collapse_lm.experiment.learner import Learner
from collapse_lm.experiment.models import Models, Moment, Stateful
from collapse_lm.experiment.probe import EACH_UPDATE, Probe
from collapse_lm.experiment.restart import Restart
from collapse_lm.experiment.sources import Source
from collapse_lm.measures.base import Measure
from collapse_lm.measures.names import Number, Row
from collapse_lm.measures.seen import Seen


@dataclass
class RunState:
    """All that survives an update; saving it is what makes a run resumable.

    Attributes:
        models: the master weights θ_u, and what samples and is measured in their place.
        survivors: whatever else has to be saved, by name: optimizer, objective, source.
        update: u, the updates done so far.
    """

    models: Models
    survivors: Mapping[str, Stateful] = field(default_factory=dict)
    update: int = 0


@dataclass(frozen=True)
class Experiment:
    """The parts that stay the same over a run.

    Attributes:
        source: decides the text of each update.
        learner: the optimizer steps.
        decode: token ids of texts to text.
        rule: thresholds of the collapse rule.
        max_updates: u of the last update, unless the run ends before.
        probe: decides what an update is judged by.
        measures: of the model after the step.
        stop_after_collapse: updates to go on for once the rule is met; None goes on to
            `max_updates`.
        aftermath_dose: sum of learning rates to go on for as well; None asks for none.
        is_out_of_time: asked after every step; true ends the run with this update.
        restart: begins a generation, where the batch is the first of one; None goes on.
    """

    source: Source
    learner: Learner
    decode: Callable[[Sequence[Sequence[int]]], Sequence[str]]
    rule: CollapseRule
    max_updates: int
    probe: Probe = EACH_UPDATE
    measures: Sequence[Measure] = ()
    stop_after_collapse: int | None = 0
    aftermath_dose: float | None = None
    is_out_of_time: Callable[[], bool] = lambda: False
    restart: Restart | None = None


def self_train(
    state: RunState, experiment: Experiment, seen: Seen | None = None
) -> Iterator[Record]:
    """Train a model on its own text; yield the record of every update.

    A fresh state yields row 0, the base model, first. The iterator ends at the
    collapse, at `max_updates`, when it is out of time, or at a step whose loss or gradient
    is not finite (which is withheld from the weights). Between two records the state is
    whole, so a caller may stop or save there.

    Args:
        state: changed in place.
        experiment: the parts of the run.
        seen: what follows from the updates already done, the verdict of the rule for one.
    """
    seen = seen or Seen(experiment.rule)
    if state.update == 0:
        base = _base_record(state, experiment)
        seen.replay(base.row)
        yield base
    while not _is_over(state.update, seen, experiment):
        at, clock = Moment(state.update + 1, state.models), Stopwatch()
        with clock.time("sample"):
            batch = spelled(checked(experiment.source.draw(at)), experiment.decode)
        with clock.time("probe"):
            probe = experiment.probe.draw(at, batch)
        if batch.generation and experiment.restart:
            with clock.time("train"):
                experiment.restart(state.models, at.update, batch.generation)
        with clock.time("evaluate"):
            before_step(experiment.measures, at)
        with clock.time("train"):
            step = experiment.learner.learn(state.models, batch, at.update)
        state.update = at.update
        with clock.time("judge"):
            probe = probe if probe is batch else spelled(probe, experiment.decode)
            values = facts(batch, probe, step)
            add(values, seen.see(at.update, values, batch, probe), "the past")
        is_last = not step.applied or _is_over(at.update, seen, experiment)
        is_last = is_last or experiment.is_out_of_time()
        with clock.time("evaluate"):
            for measure in experiment.measures:
                if is_due(measure, at.update, is_last=is_last):
                    batch, probe = marked(measure, at, batch, probe)
                    add(values, measure(at, batch, probe), measure)
        yield Record(Row(at.update, values | clock.seconds), batch, probe)
        if is_last:
            return


def _base_record(state: RunState, experiment: Experiment) -> Record:
    """The base model, as its measures see it."""
    at, clock, values = Moment(0, state.models), Stopwatch(), dict[str, Number]()
    with clock.time("evaluate"):
        for measure in experiment.measures:
            add(values, measure(at, Batch(), Batch()), measure)
    return Record(Row(0, values | clock.seconds))


def _is_over(update: int, seen: Seen, of: Experiment) -> bool:
    return seen.is_over(update, of.max_updates, of.stop_after_collapse, of.aftermath_dose)
