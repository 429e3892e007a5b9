"""A mean curve over runs that end at different updates, with a band. Pure.

A mean over those that are left is that of other runs than the mean before it, and jumps
wherever one drops out; so it ends where the first of them ends.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from collapse_lm.analysis.stats.survival import Floats

Series = Mapping[int, float] | Mapping[float, float]  # by update, or by dose
FEW = 5  # below this number of runs a standard error is too rough, and the band is the range


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """The mean of several runs at each update, while all of them are running.

    An update at which one of them was not evaluated is left out: a mean without it would jump.

    Columns have shape (updates,), in nats per token; the band is NaN where one run is left.

    Attributes:
        update: in order.
        mean: over all the runs.
        lower: of the band.
        upper: of the band.
        band: what the band is: "range" or "standard error"; empty for a single run.
    """

    update: Floats
    mean: Floats
    lower: Floats
    upper: Floats
    band: str


def mean_curve(series: Sequence[Series]) -> MeanCurve:
    """Average runs given as {update: value}, or as {dose: value}.

    The band is the range of the runs where there are fewer than five, and the mean -+
    one standard error where there are more. A run without any finite value counts for nothing.
    """
    series = [run for run in series if any(map(math.isfinite, run.values()))]
    values: dict[float, list[float]] = {}
    for run in series:
        for update, value in run.items():
            if math.isfinite(value):
                values.setdefault(update, []).append(value)
    updates = [update for update in sorted(values) if len(values[update]) == len(series)]
    band = "" if len(series) < 2 else "range" if len(series) < FEW else "standard error"
    limits = [_limits(np.array(values[update]), band) for update in updates]
    lower, upper = np.array(limits, dtype=np.float64).reshape(-1, 2).T
    return MeanCurve(
        update=np.array(updates, dtype=np.float64),
        mean=np.array([np.mean(values[update]) for update in updates], dtype=np.float64),
        lower=lower,
        upper=upper,
        band=band,
    )


def _limits(values: Floats, band: str) -> tuple[float, float]:
    if len(values) < 2:
        return math.nan, math.nan
    if band == "range":
        return float(values.min()), float(values.max())
    error = values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - error), float(values.mean() + error)
