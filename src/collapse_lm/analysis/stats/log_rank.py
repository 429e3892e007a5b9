"""Do groups of runs collapse at the same rate? The log-rank test for k groups.

With a handful of runs per group the chi-square approximation is too sure of
itself, so the p-value by permutation stands beside it, and `smallest_p` says what
a design can show at best, before anything is run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import factorial, nan, prod

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi_square

from collapse_lm import rng
from collapse_lm.analysis.stats.survival import Flags, Floats, check_runs, count_at_times
from collapse_lm.errors import UserError

Labels = NDArray[np.intp]
Survival = tuple[Sequence[float], Sequence[bool]]

_CHUNK = 1000  # assignments judged at once, to bound the memory
_SLACK = 1e-9  # equal statistics may differ in their last bits


@dataclass(frozen=True)
class Group:
    """Collapses in one group: as seen, and as expected if all groups were alike."""

    name: str
    runs: int
    observed: int
    expected: float


@dataclass(frozen=True)
class LogRank:
    """Result of a log-rank test; a number that is undefined is NaN.

    Attributes:
        chi2: the statistic.
        df: its degrees of freedom (0: nothing to compare).
        p_value: of the chi-square approximation.
        permutation_p: share of the assignments of runs to groups whose chi2 is at
            least the one seen.
        permutations: assignments tried.
        exact: True if these were all distinct assignments, False for a random draw.
        groups: counts per group, in the order given.
    """

    chi2: float
    df: int
    p_value: float
    permutation_p: float
    permutations: int
    exact: bool
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class _Pooled:
    """All runs together; none of it changes when runs change their group.

    Shapes: at_risk (runs, times) of 0 and 1, total and weight (times,), and per run
    its collapse (0 or 1) and the number of collapses expected of it.
    """

    at_risk: Floats
    total: Floats
    weight: Floats
    collapse: Floats
    expected: Floats


def log_rank(
    groups: Mapping[str, Survival],
    *,
    seed: int,
    permutations: int = 10_000,
    exact_up_to: int = 20_000,
) -> LogRank:
    """Compare the time to collapse of k groups of runs.

    The variance is the hypergeometric one (Mantel 1966; Kalbfleisch and Prentice
    2002, section 1.5). The permutation test counts every distinct assignment where
    these are few, else `permutations` random ones and the one seen (Phipson and
    Smyth 2010). It assumes that runs of all groups are censored alike,
    as runs with one `max_updates` are.

    Args:
        groups: name -> (times, observed), as in `kaplan_meier`.
        seed: of the random assignments; unused where the test is exact.
        permutations: number of random assignments.
        exact_up_to: most distinct assignments to count one by one.

    Raises:
        UserError: for fewer than two groups, and as `check_runs`.
    """
    if len(groups) < 2:
        raise UserError.single("log-rank groups", list(groups), "two or more groups of runs")
    checked = [check_runs(*group) for group in groups.values()]
    sizes = [len(times) for times, _ in checked]
    pooled = _pool(*(np.concatenate(part) for part in zip(*checked, strict=True)))
    labels = np.repeat(np.arange(len(sizes)), sizes)[None]
    (statistic,), (df,) = _statistics(pooled, labels, len(sizes))
    exact = count_assignments(sizes) <= exact_up_to
    drawn = _assignments(sizes) if exact else _random(labels[0], permutations, seed)
    tried, extreme = _count_extreme(pooled, drawn, len(sizes), statistic)
    # The assignment seen is one of the exact ones; to random ones it is added.
    share = extreme / tried if exact else (extreme + 1) / (tried + 1)
    return LogRank(
        chi2=float(statistic) if df else nan,
        df=int(df),
        p_value=float(chi_square.sf(statistic, df)) if df else nan,
        permutation_p=share if df else nan,
        permutations=tried,
        exact=exact,
        groups=_describe(list(groups), labels[0], pooled),
    )


def smallest_p(sizes: Sequence[int]) -> float:
    """Return the smallest p-value that an exact permutation test can show.

    Assignments that swap whole groups of one size are as extreme as the one seen,
    so p is at least (product of m! over sizes that m groups share) / (number of
    distinct assignments). It is reached where no two times are equal and the groups
    are fully separated, smaller ones collapsing first. For 3 against 3 runs it is
    2/20 = 0.1, while the chi-square approximation says 0.0246: three seeds per group
    cannot show p < 0.05, whatever the approximation says; 4 against 4 can (2/70).

    Raises:
        UserError: for fewer than two groups or an empty one.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise UserError.single("group sizes", list(sizes), "two or more groups of 1 run or more")
    swaps = prod(factorial(list(sizes).count(size)) for size in set(sizes))
    return swaps / count_assignments(sizes)


def count_assignments(sizes: Sequence[int]) -> int:
    """Return the number of ways to deal runs to groups of these sizes."""
    return factorial(sum(sizes)) // prod(factorial(size) for size in sizes)


def _pool(times: Floats, observed: Flags) -> _Pooled:
    distinct, total, events, _ = count_at_times(times, observed)
    distinct, total, events = (part[events > 0] for part in (distinct, total, events))
    at_risk = (times[:, None] >= distinct).astype(np.float64)
    # The last run at risk has no one to be compared with: 0, not 0/0.
    weight = events * (total - events) / np.maximum(total - 1, 1)
    expected = at_risk @ (events / total)
    return _Pooled(at_risk, total, weight, observed.astype(np.float64), expected)


def _statistics(pooled: _Pooled, labels: Labels, groups: int) -> tuple[Floats, Labels]:
    """Return (chi2, degrees of freedom) per row of labels, shape (assignments, runs)."""
    member = (labels[:, None, :] == np.arange(groups)[:, None]).astype(np.float64)
    surplus = member @ (pooled.collapse - pooled.expected)
    share = member @ pooled.at_risk / pooled.total
    weighted = share * pooled.weight
    variance = -weighted @ share.swapaxes(1, 2)
    diagonal = np.arange(groups)
    variance[:, diagonal, diagonal] += weighted.sum(axis=2)
    # Rows sum to 0, and a group that is never at risk adds a row of 0: an inverse
    # that skips the null space serves every case.
    values, vectors = np.linalg.eigh(variance)
    kept = values > 1e-10 * max(pooled.weight.sum(), 1e-300)
    along = (vectors.swapaxes(1, 2) @ surplus[:, :, None])[:, :, 0] ** 2
    return np.where(kept, along / np.where(kept, values, 1), 0).sum(axis=1), kept.sum(axis=1)


def _assignments(sizes: Sequence[int]) -> Iterator[Labels]:
    """Yield every distinct assignment, shape (runs,)."""

    def deal(free: tuple[int, ...], group: int) -> Iterator[dict[int, int]]:
        if group == len(sizes):
            yield {}
            return
        for chosen in combinations(free, sizes[group]):
            rest = tuple(run for run in free if run not in chosen)
            for other in deal(rest, group + 1):
                yield dict.fromkeys(chosen, group) | other

    runs = range(sum(sizes))
    for dealt in deal(tuple(runs), 0):
        yield np.array([dealt[run] for run in runs])


def _random(labels: Labels, permutations: int, seed: int) -> Iterator[Labels]:
    numbers = rng.numpy_stream(seed, "bootstrap")
    return (numbers.permutation(labels) for _ in range(permutations))


def _count_extreme(
    pooled: _Pooled, drawn: Iterator[Labels], groups: int, threshold: float
) -> tuple[int, int]:
    """Return (assignments, those with a chi2 of at least the threshold)."""
    tried = extreme = 0
    while chunk := list(islice(drawn, _CHUNK)):
        statistics, _ = _statistics(pooled, np.stack(chunk), groups)
        tried += len(chunk)
        extreme += int((statistics >= threshold - _SLACK * (1 + threshold)).sum())
    return tried, extreme


def _describe(names: Sequence[str], labels: Labels, pooled: _Pooled) -> tuple[Group, ...]:
    return tuple(
        Group(
            name=name,
            runs=int((labels == place).sum()),
            observed=int(pooled.collapse[labels == place].sum()),
            expected=float(pooled.expected[labels == place].sum()),
        )
        for place, name in enumerate(names)
    )
