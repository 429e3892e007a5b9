"""Does size matter once the rate is not one and the same? The unit is the model.

Every model has runs at several rates. Its own line (log time on log rate) gives its time at any
rate, so that rules by which the rate goes with the width can be laid on top: one shared rate,
width^(-1/2), 1/width. Where the relative step was measured (`drift.step`: the norm of an update
over that of the weights), a line in it compares models that move equally far. Over models, log
time is regressed on log parameters with the pretraining seed as a block, as models of one seed
saw the same windows in the same order. Pure.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from collapse_lm._util.numbers import exp
from collapse_lm.analysis.events import Event, loop
from collapse_lm.analysis.law import Line, line
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.permutation import PermutationTest, permutation_test

POWERS = (0.0, 0.5, 1.0)  # of 1 / width, with which the rate goes
_RUNG = re.compile(r"(?:ladder:|.*/)?([1-9][0-9]*)x[0-9]+(?:@([0-9]+))?")
_SEED = 0  # of permutations
_NONE = 1e-12  # spread of sizes that are the same but for rounding
_REFERENCE = 64  # width at which a rule gives the middle rate
Amount = Callable[[Measured], float]


@dataclass(frozen=True)
class ModelLine:
    """One pretrained model: how its time goes with the rate.

    Attributes:
        model: its reference.
        width: of its hidden states.
        block: its pretraining seed.
        parameters: all of them.
        line: log time on log rate.
        runs, seen: how many runs it has, and how many of them saw the event.
        start: validation loss of the model, nats per token.
    """

    model: str
    width: int
    block: str
    parameters: int
    line: Line
    runs: int
    seen: int
    start: float


@dataclass(frozen=True)
class SizeEffect:
    """The time of the smallest model over that of the largest, under one rule for the rate.

    Attributes:
        power: the rate goes as (1 / width)^power; NaN where the relative step is held equal.
        ratio: above 1: larger models are earlier. NaN where it cannot be told.
        lower: of its 95 % interval over models.
        upper: likewise.
        models: number of them.
        test: deals the sizes anew within each pretraining seed.
    """

    power: float
    ratio: float
    lower: float
    upper: float
    models: int
    test: PermutationTest


def rate_of(run: Measured) -> float:
    """The learning rate."""
    return run.outcome.learning_rate


def relative_step(run: Measured) -> float:
    """Median norm of an update over that of the weights, up to the loop; NaN where not measured."""
    steps = [x for u, x in run.series("drift.step").items() if u and u <= loop(run).time and x > 0]
    return float(np.median(steps)) if steps else math.nan


def sized(runs: Sequence[Measured]) -> list[Measured]:
    """Those that train a model of a known size whose reference tells its width."""
    return [
        run
        for run in runs
        if _RUNG.fullmatch(run.outcome.model) and run.outcome.parameters and rate_of(run) > 0
    ]


def model_lines(
    runs: Sequence[Measured], event: Event = loop, amount: Amount = rate_of
) -> list[ModelLine]:
    """The line of every model, in order of size.

    Args:
        runs: of several models; those that are not `sized`, or without the amount, are left out.
        event: what is timed.
        amount: of a run, in which the lines are.
    """
    by_model: dict[str, list[Measured]] = {}
    for run in sized(runs):
        if amount(run) > 0:
            by_model.setdefault(run.outcome.model, []).append(run)
    lines = [_line_of(model, members, event, amount) for model, members in by_model.items()]
    return sorted(lines, key=lambda found: (found.parameters, found.block))


def _line_of(model: str, runs: Sequence[Measured], event: Event, amount: Amount) -> ModelLine:
    found = _RUNG.fullmatch(model)
    assert found is not None  # asked before
    times, first = [event(run) for run in runs], runs[0].outcome
    is_swept = len({rate_of(run) for run in runs}) > 1
    through = line(times, [amount(run) for run in runs]) if is_swept else Line(math.nan, math.nan)
    start = next(iter(first.validation.values()), (math.nan,))[0]
    counts = len(runs), sum(seen.observed for seen in times)
    assert first.parameters is not None  # it is sized
    size = (int(found[1]), found[2] or "0", first.parameters)
    return ModelLine(model, *size, through, *counts, start)


def size_effects(
    models: Sequence[ModelLine], middle_rate: float, powers: Sequence[float] = POWERS
) -> list[SizeEffect]:
    """The effect of size under each rule for the rate.

    Args:
        models: of two sizes at least.
        middle_rate: the rate of a model of width 64 under every rule.
        powers: of the rules.
    """
    return [_effect(power, models, middle_rate) for power in powers]


def effects_of_size(runs: Sequence[Measured], event: Event = loop) -> list[SizeEffect]:
    """The effect of size under each rule, about the geometric mean of the rates of the runs.

    Last, where it was measured, at an equal relative step. Empty without two sizes.
    """
    found: list[SizeEffect] = []
    for amount, powers in ((rate_of, POWERS), (relative_step, (0.0,))):
        models = model_lines(runs, event, amount)
        if len({model.parameters for model in models}) > 1:
            effects = size_effects(models, middle_amount(runs, amount), powers)
            found += [replace(e, power=math.nan) for e in effects] if found else effects
    return found


def middle_amount(runs: Sequence[Measured], amount: Amount = rate_of) -> float:
    """The geometric mean of an amount over the sized runs that have it; NaN without any."""
    amounts = [amount(run) for run in sized(runs) if amount(run) > 0]
    return math.exp(sum(map(math.log, amounts)) / len(amounts)) if amounts else math.nan


class ModelTime(NamedTuple):
    """The time that a model's line gives at a rate."""

    model: ModelLine
    rate: float
    time: float


def times_under(power: float, models: Sequence[ModelLine], middle_rate: float) -> list[ModelTime]:
    """Times of models where the rate goes as (1 / width)^power.

    Args:
        power: of the rule.
        models: those whose line does not tell a time are left out.
        middle_rate: the rate of a model of width 64.
    """
    rates = [middle_rate * (_REFERENCE / model.width) ** power for model in models]
    found = [ModelTime(m, rate, m.line.time(rate)) for m, rate in zip(models, rates, strict=True)]
    return [one for one in found if 0 < one.time < math.inf]


def line_over_sizes(times: Sequence[ModelTime]) -> Line:
    """The line through times of models (see `times_under`) over their parameters.

    Its slope is that of the regression with a level for each pretraining seed, so that a seed
    without a size does not bend it; NaN where no seed has two sizes.
    """
    x, y, blocks = _logs(times)
    slope, _, spread = _slope(x, y, blocks)
    is_known = spread > 0
    return Line(float(y.mean() - slope * x.mean()), slope) if is_known else Line(math.nan, math.nan)


def _effect(power: float, models: Sequence[ModelLine], rate: float) -> SizeEffect:
    known = times_under(power, models, rate)
    x, y, blocks = _logs(known)
    parts = [_of(blocks, name) for name in sorted(set(blocks))]
    test = permutation_test([(x[part], y[part]) for part in parts], seed=_SEED)
    slope, rest, spread = _slope(x, y, blocks)
    free = len(known) - len(parts) - 1
    if free < 1 or not spread:
        return SizeEffect(power, math.nan, math.nan, math.nan, len(known), test)
    error = math.sqrt(rest / free / spread)
    reach = float(np.ptp(x))
    width = float(student.ppf(0.975, free)) * error
    value, lower, upper = (exp(-reach * s) for s in (slope, slope + width, slope - width))
    return SizeEffect(power, value, lower, upper, len(known), test)


def _of(blocks: Sequence[str], name: str) -> list[int]:
    return [place for place, block in enumerate(blocks) if block == name]


def _logs(times: Sequence[ModelTime]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Log parameters (shape (models,)), log times, and pretraining seeds."""
    x = np.array([math.log(one.model.parameters) for one in times])
    return x, np.array([math.log(one.time) for one in times]), [one.model.block for one in times]


def _slope(x: np.ndarray, y: np.ndarray, blocks: Sequence[str]) -> tuple[float, float, float]:
    """Least squares with a level for each block: slope, sum of squares left, and that of x."""
    x, y = x.copy(), y.copy()
    for name in set(blocks):
        members = _of(blocks, name)
        x[members] -= x[members].mean()
        y[members] -= y[members].mean()
    spread = float(x @ x)
    slope = float(x @ y) / spread if spread > _NONE else math.nan
    rest = y - slope * x
    return slope, float(rest @ rest), spread if spread > _NONE else 0.0
