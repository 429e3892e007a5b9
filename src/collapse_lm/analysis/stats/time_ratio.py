"""How many times as long does it take to collapse? Accelerated failure times, by ranks.

The model: log time = something of the stratum + effect x covariate + noise, of whatever
form. The estimate is Gehan's (Jin, Lin, Wei and Ying 2003): the effect under which the
residuals of the runs are least in conflict, a weighted quantile of the slopes between pairs
of runs. Without censored runs, at two levels, it is the median ratio over all pairs. So it
stays finite where the runs are separated. Draws no random numbers.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from collapse_lm._util.numbers import exp
from collapse_lm.analysis.stats.survival import Flags, Floats, check_confidence, check_runs
from collapse_lm.errors import UserError

FEWEST_BLOCKS = 3  # of two, a median of pairs is often the same without either


@dataclass(frozen=True)
class TimeRatio:
    """The time to collapse at covariate 1, as a multiple of that at 0.

    Attributes:
        value: above 1 means later; NaN where no two runs can be compared.
        bound: "" for an estimate; "at most" or "at least" where runs collapsed at one end
            only, and the value is a bound of the median ratio over pairs of runs.
        lower: of the confidence interval; NaN where there is none, and `note` says why.
        upper: likewise.
        note: empty if all is well.
    """

    value: float = math.nan
    bound: str = ""
    lower: float = math.nan
    upper: float = math.nan
    note: str = ""


def time_ratio(
    times: Sequence[float],
    observed: Sequence[bool],
    covariate: Sequence[float],
    strata: Sequence[Hashable],
    blocks: Sequence[Hashable],
    confidence: float = 0.95,
    spacing: float = 1,
) -> TimeRatio:
    """Estimate the ratio of times; runs are compared within a stratum only.

    The interval is that of the jackknife over blocks, about the estimate, with Student's t of
    one degree of freedom less than there are blocks: runs of one block may share random
    numbers. It is no narrower than times in whole updates allow. There is none for fewer than
    three blocks, nor where times are so alike that no block makes a difference.

    Args:
        times: update of the collapse or of the end, one per run; a run of 0 updates tells
            nothing and is left out.
        observed: True for a collapse.
        covariate: one finite number per run.
        strata: label per run.
        blocks: label per run, such as its seed.
        confidence: nominal coverage of the interval.
        spacing: updates from one time at which a collapse can be seen to the next.

    Raises:
        UserError: for data of wrong shape or range.
    """
    check_confidence(confidence)
    time, flags = check_runs(times, observed)
    x = np.asarray(covariate, dtype=np.float64)
    if {len(x), len(strata), len(blocks)} != {len(time)} or not np.isfinite(x).all():
        got = f"{len(x)} covariates, {len(strata)} strata, {len(blocks)} blocks"
        raise UserError.single("time ratio", got, f"finite ones, of each one per {len(time)} runs")
    pairs = _pairs(time, flags, x, _numbered(strata))
    effect = _gehan(pairs)
    if math.isnan(effect):
        return _bounded(pairs, _weight(time, x, _numbered(strata)), flags)
    value = exp(effect)
    label = _numbered(blocks)
    left_out = [_gehan(pairs.without(np.flatnonzero(label == one))) for one in np.unique(label)]
    note = _why_no_interval(effect, left_out)
    if note:
        return TimeRatio(value, note=note)
    width = _jackknife(effect, left_out, confidence)
    least, most = _rounded(pairs, time, spacing / 2)
    return TimeRatio(value, "", exp(min(effect - width, least)), exp(max(effect + width, most)))


def _why_no_interval(effect: float, left_out: Sequence[float]) -> str:
    """Why the estimates without each block make no interval; empty if they do."""
    if len(left_out) < FEWEST_BLOCKS:
        return f"no interval from fewer than {FEWEST_BLOCKS} seeds"
    if any(map(math.isnan, left_out)):
        return "no interval, as the estimate hangs on a single seed"
    if np.allclose(left_out, effect, rtol=0, atol=1e-9):
        return "no interval, as times are so alike that no seed makes a difference"
    return ""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Ordered pairs of a run that collapsed and another of its stratum, (pairs,) each."""

    first: NDArray[np.intp]  # place of the run that collapsed
    second: NDArray[np.intp]
    step: Floats  # covariate of the second less that of the first, not 0
    slope: Floats  # log of the ratio of their times per unit of covariate

    def without(self, runs: NDArray[np.intp]) -> "_Pairs":
        """The pairs that hold none of some runs."""
        kept = ~(np.isin(self.first, runs) | np.isin(self.second, runs))
        return _Pairs(self.first[kept], self.second[kept], self.step[kept], self.slope[kept])


def _pairs(time: Floats, observed: Flags, x: Floats, strata: NDArray[np.intp]) -> _Pairs:
    known = time > 0
    counts = (observed & known)[:, None] & known[None, :]
    counts &= (strata[:, None] == strata[None, :]) & (x[:, None] != x[None, :])
    first, second = np.nonzero(counts)
    step = x[second] - x[first]
    return _Pairs(first, second, step, np.log(time[second] / time[first]) / step)


def _gehan(pairs: _Pairs) -> float:
    """Return where the loss of the pairs is least, NaN where nothing holds it on one side.

    A pair costs step x (slope - effect) where that is positive: the other run should not
    outlast the one that collapsed. So the loss is least at a weighted quantile of the slopes.
    """
    later = float(pairs.step[pairs.step > 0].sum())
    if not later or not (pairs.step < 0).any():
        return math.nan
    return _quantile(pairs.slope, np.abs(pairs.step), later)


def _bound(pairs: _Pairs, weight: float) -> float:
    """The median slope over all pairs, given those that collapsed at the same end.

    Each slope is at least (at most) that large; those of the other pairs, up to `weight`, are
    not known, and may lie anywhere below (above). NaN where the median is among them.
    """
    weights = np.abs(pairs.step)
    known = float(weights.sum())
    if not known > weight / 2:
        return math.nan
    is_least = bool(pairs.step[0] > 0)
    unknown = weight - known if is_least else 0.0
    return _quantile(pairs.slope, weights, weight / 2 - unknown)


def _quantile(values: Floats, weights: Floats, mass: float) -> float:
    """The value below which the weights sum to a mass; halfway where two will do."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) - mass
    near = 1e-9 * mass
    first, last = int((below >= -near).argmax()), int((below > near).argmax())
    return float(values[order[first]] + values[order[last]]) / 2


def _jackknife(effect: float, left_out: Sequence[float], confidence: float) -> float:
    """Half the width of the interval, given the estimates with all blocks and without each.

    The factor of 1 less one over the number of blocks is left out: with it the interval of a
    median over few pairs is too short.
    """
    deviations = np.array(left_out) - effect
    t = float(student.ppf((1 + confidence) / 2, len(deviations) - 1))
    return t * float(np.linalg.norm(deviations))


def _rounded(pairs: _Pairs, time: Floats, half: float) -> tuple[float, float]:
    """The least and most that the estimate would be, were every time up to `half` another."""
    low, high = np.maximum(time - half, time / 2), time + half  # above 0
    ratios = low[pairs.second] / high[pairs.first], high[pairs.second] / low[pairs.first]
    slopes = np.log(ratios) / pairs.step
    least, most = (_gehan(replace(pairs, slope=one)) for one in np.sort(slopes, axis=0))
    return least, most


def _numbered(labels: Sequence[Hashable]) -> NDArray[np.intp]:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels])


def _weight(time: Floats, x: Floats, strata: NDArray[np.intp]) -> float:
    """Of all pairs that could be compared, whichever of their runs collapsed."""
    known = (time > 0)[:, None] & (time > 0)[None, :] & (strata[:, None] == strata[None, :])
    return float(np.abs(x[:, None] - x[None, :])[known].sum()) / 2


def _bounded(pairs: _Pairs, weight: float, observed: Flags) -> TimeRatio:
    if not pairs.step.size:
        return TimeRatio(
            note="no two runs can be compared" if observed.any() else "no run collapsed"
        )
    effect = _bound(pairs, weight)
    if math.isnan(effect):
        return TimeRatio(note="too few runs collapsed, and at one end only")
    bound = "at least" if pairs.step[0] > 0 else "at most"
    return TimeRatio(exp(effect), bound, note="runs collapsed at one end only")
