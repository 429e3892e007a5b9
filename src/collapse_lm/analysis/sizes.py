"""Does size matter once the rate is not one and the same? The unit is the model.

Every model has runs at several rates. Its own line (log time on log rate) gives its time at any
rate, so that rules by which the rate goes with the width can be laid on top: one shared rate,
width^(-1/2), 1/width. Over models, log time is regressed on log parameters with the pretraining
seed as a block, as models of one seed saw the same windows in the same order. Pure.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from collapse_lm.analysis.events import Event, loop
from collapse_lm.analysis.law import Line, line
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.permutation import PermutationTest, permutation_test

POWERS = (0.0, 0.5, 1.0)  # of 1 / width, with which the rate goes
_RUNG = re.compile(r"(?:ladder:|.*/)?([0-9]+)x[0-9]+(?:@([0-9]+))?")
_SEED = 0  # of permutations
_REFERENCE = 64  # width at which a rule gives the middle rate


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
        power: the rate goes as (1 / width)^power.
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


def model_lines(runs: Sequence[Measured], event: Event = loop) -> list[ModelLine]:
    """The line of every model whose reference tells its width, in order of size."""
    by_model: dict[str, list[Measured]] = {}
    for run in runs:
        if _RUNG.fullmatch(run.outcome.model) and run.outcome.learning_rate > 0:
            by_model.setdefault(run.outcome.model, []).append(run)
    lines = [_line_of(model, members, event) for model, members in by_model.items()]
    return sorted(lines, key=lambda found: (found.parameters, found.block))


def _line_of(model: str, runs: Sequence[Measured], event: Event) -> ModelLine:
    found = _RUNG.fullmatch(model)
    assert found is not None  # asked before
    times, first = [event(run) for run in runs], runs[0].outcome
    through = line(times, [run.outcome.learning_rate for run in runs])
    start = next(iter(first.validation.values()), (math.nan,))[0]
    counts = len(runs), sum(seen.observed for seen in times)
    size = (int(found[1]), found[2] or "0", first.parameters or 0)
    return ModelLine(model, *size, through, *counts, start)


def size_effects(models: Sequence[ModelLine], middle_rate: float) -> list[SizeEffect]:
    """The effect of size under each rule for the rate.

    Args:
        models: of two sizes at least.
        middle_rate: the rate of a model of width 64 under every rule.
    """
    return [_effect(power, models, middle_rate) for power in POWERS]


def _effect(power: float, models: Sequence[ModelLine], rate: float) -> SizeEffect:
    y = [math.log(m.line.time(rate * (_REFERENCE / m.width) ** power)) for m in models]
    known = [(m, value) for m, value in zip(models, y, strict=True) if math.isfinite(value)]
    x = np.array([math.log(m.parameters) for m, _ in known])
    values, blocks = np.array([value for _, value in known]), [m.block for m, _ in known]
    names = sorted(set(blocks))
    free = len(known) - len(names) - 1
    test = permutation_test(
        [(x[_of(blocks, name)], values[_of(blocks, name)]) for name in names], seed=_SEED
    )
    if free < 1 or not np.ptp(x):
        return SizeEffect(power, math.nan, math.nan, math.nan, len(known), test)
    slope, error = _slope(x, values, blocks, names, free)
    reach = float(np.ptp(x))
    width = float(student.ppf(0.975, free)) * error
    value, lower, upper = (math.exp(-reach * s) for s in (slope, slope + width, slope - width))
    return SizeEffect(power, value, lower, upper, len(known), test)


def _of(blocks: Sequence[str], name: str) -> list[int]:
    return [place for place, block in enumerate(blocks) if block == name]


def _slope(
    x: np.ndarray, y: np.ndarray, blocks: Sequence[str], names: Sequence[str], free: int
) -> tuple[float, float]:
    """Least squares with a level for each block: the slope and its standard error."""
    x, y = x.copy(), y.copy()
    for name in names:
        members = _of(blocks, name)
        x[members] -= x[members].mean()
        y[members] -= y[members].mean()
    slope = float(x @ y / (x @ x))
    rest = y - slope * x
    return slope, math.sqrt(float(rest @ rest) / free / float(x @ x))
