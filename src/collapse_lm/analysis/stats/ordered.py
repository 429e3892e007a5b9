"""Do runs with more of something collapse earlier? Tests for an ordered covariate.

Beside Cox's regression, whose intervals hold for many runs, stand a permutation test,
which holds for few, and a rank correlation that knows of censored runs.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from collapse_lm import rng
from collapse_lm.analysis.stats.log_rank import count_assignments
from collapse_lm.analysis.stats.survival import Flags, Floats, check_runs, count_at_times

PERMUTATIONS = 10_000


def trend_p(
    times: Sequence[float],
    observed: Sequence[bool],
    covariate: Sequence[float],
    strata: Sequence[Hashable],
    *,
    seed: int,
    units: Sequence[Hashable] | None = None,
    permutations: int = PERMUTATIONS,
) -> float:
    """Return the two-sided p-value of the log-rank test for trend, by permutation.

    The statistic is the score of Cox's likelihood at no effect, the sum over runs of
    covariate times (collapses - expected collapses) (Tarone 1975). The covariate is
    dealt anew to the units of each stratum; the assignment seen is added to those drawn
    (Phipson and Smyth 2010). Runs must be censored alike at every level.

    Args:
        times: update of the collapse or of the end, one per run.
        observed: True for a collapse.
        covariate: one number per run.
        strata: label per run; runs are compared within a stratum only.
        seed: of the draws.
        units: label per run; runs of one unit share a covariate and are dealt together,
            as seeds of one model are. By default every run is a unit.
        permutations: number of draws.

    Returns:
        NaN where nothing can be compared: no collapse, or a covariate that is constant
        within each stratum.
    """
    time, flags = check_runs(times, observed)
    x, numbers = np.asarray(covariate, dtype=np.float64), rng.numpy_stream(seed, "bootstrap")
    labels = np.unique([str(label) for label in strata], return_inverse=True)[1]
    members = np.arange(len(time)) if units is None else _numbered(units)
    seen, drawn, varies = 0.0, np.zeros(permutations), False
    for stratum in range(labels.max() + 1):
        member = labels == stratum
        _, first, unit = np.unique(members[member], return_index=True, return_inverse=True)
        surplus = np.bincount(unit, weights=_surplus(time[member], flags[member]))
        amount = x[member][first]
        seen += float(amount @ surplus)
        tiled = np.tile(amount, (permutations, 1))
        drawn += numbers.permuted(tiled, axis=1) @ surplus
        varies |= bool(np.ptp(amount) > 0 and surplus.any())
    if not varies:
        return math.nan
    slack = 1e-9 * (1 + abs(seen))  # equal statistics may differ in their last bits
    return float((1 + (np.abs(drawn) >= abs(seen) - slack).sum()) / (1 + permutations))


def smallest_trend_p(strata: Sequence[Sequence[int]]) -> float:
    """Return the smallest p-value of an exact two-sided permutation test for trend.

    Of all ways to deal levels to units the one seen is always as extreme as itself. Its
    reverse is so too for two levels of equal size, where the score only changes its
    sign; otherwise it need not be.

    Args:
        strata: number of units at each level, for each stratum.
    """
    is_symmetric = all(len(sizes) == 2 and len(set(sizes)) == 1 for sizes in strata)
    dealt = math.prod(count_assignments(sizes) for sizes in strata)
    return min(1.0, (2 if is_symmetric else 1) / dealt)


def _numbered(labels: Sequence[Hashable]) -> Any:
    known = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.array([known[label] for label in labels])


def _surplus(times: Floats, observed: Flags) -> Floats:
    """Collapses (0 or 1) less those expected if all runs were alike, shape (runs,)."""
    distinct, at_risk, events, _ = count_at_times(times, observed)
    hazard = np.cumsum(events / at_risk)
    surplus: Floats = observed.astype(np.float64) - hazard[np.searchsorted(distinct, times)]
    return surplus


def concordance(
    times: Sequence[float],
    observed: Sequence[bool],
    covariate: Sequence[float],
    strata: Sequence[Hashable],
) -> float:
    """Return the share of comparable pairs in which the run with more collapsed first.

    A pair of one stratum is comparable where the covariates differ and it is known
    which run collapsed first (Harrell et al. 1982); 1/2 is no order. NaN without a pair.
    """
    pairs = agree = 0
    runs = list(zip(times, observed, covariate, strata, strict=True))
    for time, collapsed, more, stratum in runs:
        for other_time, other_collapsed, less, other_stratum in runs:
            is_first = time < other_time or (time == other_time and not other_collapsed)
            if collapsed and is_first and stratum == other_stratum and more != less:
                pairs, agree = pairs + 1, agree + (more > less)
    return agree / pairs if pairs else math.nan
