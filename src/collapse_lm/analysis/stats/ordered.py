"""Do runs with more of something collapse earlier? Tests for an ordered covariate.

Beside Cox's regression, whose intervals hold for many runs, stand a permutation test,
which holds for few, and a rank correlation that knows of censored runs.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np

from collapse_lm.analysis.stats.permutation import (
    DRAWS,
    EXACT_UP_TO,
    Block,
    PermutationTest,
    permutation_test,
)
from collapse_lm.analysis.stats.survival import Flags, Floats, check_runs, count_at_times
from collapse_lm.errors import UserError


def trend_test(
    times: Sequence[float],
    observed: Sequence[bool],
    covariate: Sequence[float],
    strata: Sequence[Hashable],
    *,
    seed: int,
    units: Sequence[Hashable] | None = None,
    blocks: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
    exact_up_to: int = EXACT_UP_TO,
) -> PermutationTest:
    """Return the two-sided log-rank test for trend, by permutation.

    The statistic is the score of Cox's likelihood at no effect, the sum over runs of
    covariate times (collapses - expected collapses) (Tarone 1975), which compares runs
    within a stratum. Its two tails need not be alike: perfect order can lie farther out
    in one direction than in the other. The covariate is dealt anew to the units of each
    block that are seen in the same strata. All distinct assignments are counted where
    they can be (see `permutation_test`). Runs must be censored alike at every level.

    Args:
        times: update of the collapse or of the end, one per run.
        observed: True for a collapse.
        covariate: one number per run.
        strata: label per run; runs are compared within a stratum only.
        seed: of the draws, where there are any.
        units: label per run; runs of one unit share a covariate and are dealt together,
            in all strata, as seeds of one model are. By default every run is a unit.
        blocks: label per run; covariates are dealt within a block only, as runs of one
            seed share random numbers. By default all runs are one block.
        draws: number of random assignments.
        exact_up_to: most sums to hold at once.

    Returns:
        The test; its p-value is NaN where nothing can be compared: no collapse, or
        blocks in which the covariate or the time to collapse does not vary.

    Raises:
        UserError: as `check_runs`; for labels or covariates that are not one per run; for
            runs of one unit that differ in covariate or block.
    """
    time, flags = check_runs(times, observed)
    x = np.asarray(covariate, dtype=np.float64)
    unit = list(range(len(time)) if units is None else units)
    block = list([None] * len(time) if blocks is None else blocks)
    _check(len(time), x, strata, unit, block)
    dealt = _blocks(x, _surplus(time, flags, strata), strata, unit, block)
    return permutation_test(dealt, seed=seed, draws=draws, exact_up_to=exact_up_to)


def _check(
    runs: int,
    x: Floats,
    strata: Sequence[Hashable],
    units: Sequence[Hashable],
    blocks: Sequence[Hashable],
) -> None:
    if {len(x), len(strata), len(units), len(blocks)} != {runs} or not np.isfinite(x).all():
        got = f"{len(x)} covariates, {len(strata)} strata, {len(units)} units, {len(blocks)} blocks"
        raise UserError.single("trend", got, f"finite numbers, one of each for {runs} runs")
    if len(set(zip(units, x.tolist(), blocks, strict=True))) > len(set(units)):
        got = "runs of one unit with several covariates or blocks"
        raise UserError.single("trend", got, "one covariate and one block for all runs of a unit")


def _blocks(
    x: Floats,
    surplus: Floats,
    strata: Sequence[Hashable],
    units: Sequence[Hashable],
    blocks: Sequence[Hashable],
) -> list[Block]:
    """Sum the surplus of each unit; put units that may swap their covariates together."""
    members: dict[Hashable, list[int]] = {}
    for run, unit in enumerate(units):
        members.setdefault(unit, []).append(run)
    alike: dict[Hashable, list[list[int]]] = {}
    for runs in members.values():
        seen_in = frozenset(strata[run] for run in runs)
        alike.setdefault((blocks[runs[0]], seen_in), []).append(runs)
    return [
        (
            np.array([x[runs[0]] for runs in found]),
            np.array([math.fsum(surplus[runs]) for runs in found]),
        )
        for found in alike.values()
    ]


def _surplus(times: Floats, observed: Flags, strata: Sequence[Hashable]) -> Floats:
    """Collapses (0 or 1) less those expected if all runs of a stratum were alike, (runs,)."""
    surplus: Floats = observed.astype(np.float64)
    for stratum in dict.fromkeys(strata):
        member = np.array([label == stratum for label in strata])
        distinct, at_risk, events, _ = count_at_times(times[member], observed[member])
        hazard = np.cumsum(events / at_risk)
        surplus[member] -= hazard[np.searchsorted(distinct, times[member])]
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
