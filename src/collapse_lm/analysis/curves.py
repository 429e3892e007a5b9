"""A mean curve over runs that end at different updates, with a band. Pure.

A mean over the last one or two of many runs is that of the longest-lived, and the
curve jumps wherever a run drops out; so it ends where half of them or fewer are left.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from collapse_lm.analysis.stats.survival import Floats

FEW = 5  # below this number of runs a standard error is too rough, and the band is the range


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """The mean of several runs at each update, over those that are still running.

    It ends where half of the runs or fewer are left. An update at which a run was not
    evaluated that was evaluated later is left out: a mean without it would jump.

    Columns have shape (updates,), in nats per token; the band is NaN where one run is left.

    Attributes:
        update: in order.
        mean: over the runs that have a finite value at this update.
        lower: of the band.
        upper: of the band.
        runs: behind each mean.
        band: what the band is: "range" or "standard error"; empty for a single run.
    """

    update: Floats
    mean: Floats
    lower: Floats
    upper: Floats
    runs: Floats
    band: str


def mean_curve(series: Sequence[Mapping[int, float]]) -> MeanCurve:
    """Average runs given as {update: value}.

    The band is the range of the runs where there are fewer than five, and the mean -+
    one standard error where there are more.
    """
    values: dict[int, list[float]] = {}
    for run in series:
        for update, value in run.items():
            if math.isfinite(value):
                values.setdefault(update, []).append(value)
    ends = [max((u for u, y in run.items() if math.isfinite(y)), default=-1) for run in series]
    running = {update: sum(end >= update for end in ends) for update in values}
    updates = [
        update
        for update in sorted(values)
        if 2 * len(values[update]) > len(series) and len(values[update]) == running[update]
    ]
    band = "" if len(series) < 2 else "range" if len(series) < FEW else "standard error"
    limits = [_limits(np.array(values[update]), band) for update in updates]
    lower, upper = np.array(limits, dtype=np.float64).reshape(-1, 2).T
    return MeanCurve(
        update=np.array(updates, dtype=np.float64),
        mean=np.array([np.mean(values[update]) for update in updates], dtype=np.float64),
        lower=lower,
        upper=upper,
        runs=np.array([len(values[update]) for update in updates], dtype=np.float64),
        band=band,
    )


def _limits(values: Floats, band: str) -> tuple[float, float]:
    if len(values) < 2:
        return math.nan, math.nan
    if band == "range":
        return float(values.min()), float(values.max())
    error = values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - error), float(values.mean() + error)
