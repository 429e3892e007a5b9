"""Time to collapse as survival data: the Kaplan-Meier curve of a group of runs.

A run gives one pair: (collapse update, True), or (last update, False) if it ended
without a collapse and is *censored*. The run is the unit of replication. Knows
nothing of run directories and draws no random numbers.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

from collapse_lm.errors import UserError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class KaplanMeier:
    """Estimate of S(t), the share of runs that are not yet collapsed after update t.

    The columns have shape (distinct times,), in time order; a time at which runs
    were only censored has a row with `events` 0.

    Attributes:
        time: updates.
        at_risk: runs that neither collapsed nor ended before this time.
        events: collapses at this time.
        censored: runs that ended at this time without a collapse.
        survival: S(t); 1 before the first collapse.
        lower: lower limit of S(t); NaN where it is undefined (S is 1 or 0).
        upper: upper limit of S(t), likewise.
        median: first time with S(t) <= 1/2; None where the curve stays above 1/2.
        median_lower: first time at which the band reaches down to 1/2; None if none.
        median_upper: first time at which the band lies below 1/2; None where the
            data give no upper limit, which is no evidence of a late one.
        confidence: nominal coverage of each interval.
        runs: number of runs.
        collapses: number of runs that collapsed.
        note: what could not be estimated, in words; empty if all could.
    """

    time: Floats
    at_risk: Floats
    events: Floats
    censored: Floats
    survival: Floats
    lower: Floats
    upper: Floats
    median: float | None
    median_lower: float | None
    median_upper: float | None
    confidence: float
    runs: int
    collapses: int
    note: str


def kaplan_meier(
    times: Sequence[float], observed: Sequence[bool], confidence: float = 0.95
) -> KaplanMeier:
    """Estimate the survival curve of one group of runs.

    The curve is that of `scipy.stats.ecdf`: at equal times a collapse comes before a
    censoring. Limits of S(t) are pointwise, from Greenwood's variance on the scale of
    log(-log S) (Kalbfleisch and Prentice 2002, section 1.4). Limits of the median are
    those of Brookmeyer and Crowley (1982) with that band.

    Args:
        times: update of the collapse or of the end, one per run.
        observed: True for a collapse.
        confidence: nominal coverage, between 0 and 1.

    Raises:
        UserError: for no runs, unequal lengths, or a time or confidence out of range.
    """
    checked, flags = check_runs(times, observed)
    time, at_risk, events, censored = count_at_times(checked, flags)
    survival, lower, upper = _curve(checked, flags, check_confidence(confidence))
    # A product such as 3/4 * 2/3 may round to either side of 1/2.
    median = _first(time, survival <= 0.5 + 1e-12)
    limits = _median_limits(time, lower, upper)
    return KaplanMeier(
        time=time,
        at_risk=at_risk,
        events=events,
        censored=censored,
        survival=survival,
        lower=lower,
        upper=upper,
        median=median,
        median_lower=limits[0],
        median_upper=limits[1],
        confidence=confidence,
        runs=len(checked),
        collapses=int(flags.sum()),
        note=_note(median, *limits, checked, flags),
    )


def check_runs(times: Sequence[float], observed: Sequence[bool]) -> tuple[Floats, Flags]:
    """Return (times, observed) as arrays of shape (runs,).

    Raises:
        UserError: for no runs, unequal lengths, a time that is negative or not finite,
            or a flag that is neither true nor false.
    """
    time, flags = np.asarray(times, dtype=np.float64), np.asarray(observed)
    if time.ndim != 1 or time.shape != flags.shape or not time.size:
        got = f"shapes {time.shape} and {flags.shape}"
        raise UserError.single("times and observed", got, "one of each per run, at least one run")
    if not (np.isfinite(time) & (time >= 0)).all():
        raise UserError.single("times", time.tolist(), "finite numbers of updates, 0 or more")
    if not np.isin(flags, (0, 1)).all():
        raise UserError.single("observed", flags.tolist(), "true (collapsed) or false (censored)")
    return time, flags.astype(np.bool_)


def check_confidence(confidence: float) -> float:
    """Return a confidence level, or raise UserError where it is not between 0 and 1."""
    if not 0 < confidence < 1:
        raise UserError.single("confidence", confidence, "a number between 0 and 1, such as 0.95")
    return confidence


def count_at_times(times: Floats, observed: Flags) -> tuple[Floats, Floats, Floats, Floats]:
    """Return (distinct times, runs at risk, collapses, censorings), each of shape (times,)."""
    distinct, place = np.unique(times, return_inverse=True)
    ended = np.bincount(place, minlength=len(distinct)).astype(np.float64)
    events = np.bincount(place[observed], minlength=len(distinct)).astype(np.float64)
    # Whoever ends at a time is still at risk at it.
    at_risk: Floats = np.cumsum(ended[::-1])[::-1]
    return distinct, at_risk, events, ended - events


def _curve(times: Floats, observed: Flags, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Return S and its limits at each distinct time, of collapses and of censorings."""
    found = ecdf(CensoredData(uncensored=times[observed], right=times[~observed])).sf
    survival: Floats = found.probabilities
    with warnings.catch_warnings():
        # It tells of the rows that are NaN, as ours does by being NaN.
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        band = found.confidence_interval(confidence, method="log-log")
    # log(-log S) has no value at S = 1 and S = 0, and neither has its variance.
    inside = (survival > 0) & (survival < 1)
    lower, upper = (np.where(inside, side.probabilities, np.nan) for side in (band.low, band.high))
    return survival, lower, upper


def _first(time: Floats, condition: Flags) -> float | None:
    return float(time[condition.argmax()]) if condition.any() else None


def _median_limits(time: Floats, lower: Floats, upper: Floats) -> tuple[float | None, float | None]:
    """Invert the band; a row whose limits are NaN bounds nothing."""
    return _first(time, lower <= 0.5), _first(time, upper < 0.5)


def _note(
    median: float | None, low: float | None, high: float | None, times: Floats, observed: Flags
) -> str:
    if median is None:
        return (
            f"median not reached: {int(observed.sum())} of {len(times)} runs collapsed, "
            f"the longest run has {times.max():g} updates"
        )
    missing = [name for name, limit in (("lower", low), ("upper", high)) if limit is None]
    return f"the data give no {' and no '.join(missing)} limit of the median" if missing else ""
