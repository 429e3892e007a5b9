"""The permutation test of a sum of products, over every assignment where these can be counted.

Pure arrays: knows nothing of runs, of times, or of what is dealt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import factorial, nan, prod

import numpy as np

from collapse_lm import rng
from collapse_lm.analysis.stats.survival import Floats

Block = tuple[Floats, Floats]  # amounts that are dealt and the weights they meet, (units,) each

DRAWS = 10_000  # random assignments, where the distinct ones are too many
EXACT_UP_TO = 1_000_000  # sums held at once: of one block alone, or of half of several


@dataclass(frozen=True)
class PermutationTest:
    """Result of a permutation test.

    Attributes:
        p_value: share of the assignments whose statistic lies at least as far from its
            mean as the one seen; NaN where no block holds two amounts and two weights.
        exact: True if these were all distinct assignments, False for a random draw.
        assignments: how many were counted, or drawn.
        smallest: the smallest p-value that this design can show; never above `p_value`.
    """

    p_value: float
    exact: bool
    assignments: int
    smallest: float


def permutation_test(
    blocks: Sequence[Block],
    *,
    seed: int,
    draws: int = DRAWS,
    exact_up_to: int = EXACT_UP_TO,
) -> PermutationTest:
    """Test the sum of amount x weight over all units, with amounts dealt anew in each block.

    The test is two-sided. All distinct assignments are counted where they can be: with
    one block up to `exact_up_to`, with several up to that many in each half of the
    blocks, of which every pair is counted without being held. Beyond that, `draws`
    random ones and the one seen are counted (Phipson and Smyth 2010).

    Args:
        blocks: (amounts, weights) of the units of each block.
        seed: of the draws; unused where the test is exact.
        draws: number of random assignments.
        exact_up_to: see above.
    """
    varied = [(a - a.mean(), weights) for a, weights in blocks if np.ptp(a) > 0]
    seen = sum(float(amounts @ weights) for amounts, weights in varied)
    least = abs(seen) - 1e-9 * (1 + abs(seen))  # equal sums may differ in their last bits
    halves = _halves([_assignments(amounts) for amounts, _ in varied])
    exact = all(prod(half.values()) <= exact_up_to for half in halves)
    if exact:
        first, second = (_sums([varied[block] for block in half]) for half in halves)
        tried, smallest = first.size * second.size, smallest_p([a for a, _ in varied])
        p = _count_far(first, second, least) / tried
    else:
        tried, smallest = draws, 1 / (1 + draws)
        p = (1 + int((np.abs(_draw(varied, draws, seed)) >= least).sum())) / (1 + draws)
    # Equal weights may differ in their last bits too.
    is_seen = any(np.ptp(weights) > 1e-12 for _, weights in varied)
    return PermutationTest(p if is_seen else nan, exact, tried, smallest)


def smallest_p(amounts: Sequence[Floats]) -> float:
    """Return the smallest p-value that an exact two-sided test can show.

    The assignment seen is always as far out as itself. Where the amounts of every block
    lie evenly about their mean, its reverse is always as far out too.

    Args:
        amounts: of the units of each block.
    """
    varied = [np.sort(block - block.mean()) for block in amounts if np.ptp(block) > 0]
    is_even = bool(varied) and all(
        np.allclose(block, -block[::-1], rtol=0, atol=1e-12 * np.ptp(block)) for block in varied
    )
    return (2 if is_even else 1) / prod(map(_assignments, varied))


def count_assignments(sizes: Sequence[int]) -> int:
    """Return the number of ways to deal units to groups of these sizes."""
    return factorial(sum(sizes)) // prod(factorial(size) for size in sizes)


def _assignments(amounts: Floats) -> int:
    return count_assignments(np.unique(amounts, return_counts=True)[1].tolist())


def _halves(sizes: Sequence[int]) -> tuple[dict[int, int], dict[int, int]]:
    """Share blocks out to two halves whose products are alike; block -> its size."""
    first: dict[int, int] = {}
    second: dict[int, int] = {}
    for block, size in sorted(enumerate(sizes), key=lambda found: -found[1]):
        smaller = first if prod(first.values()) <= prod(second.values()) else second
        smaller[block] = size
    return first, second


def _sums(blocks: Sequence[Block]) -> Floats:
    """Return the sum over blocks for every assignment, shape (assignments,)."""
    sums = np.zeros(1)
    for amounts, weights in blocks:
        sums = np.add.outer(sums, _sums_of_one(amounts, weights)).ravel()
    return sums


def _sums_of_one(amounts: Floats, weights: Floats) -> Floats:
    levels, counts = np.unique(amounts, return_counts=True)

    @cache
    def dealt(left: tuple[int, ...]) -> Floats:
        """Sums over the last units, which get what is left of each level."""
        if not any(left):
            return np.zeros(1)
        weight = weights[len(weights) - sum(left)]
        parts = [
            levels[i] * weight + dealt((*left[:i], left[i] - 1, *left[i + 1 :]))
            for i in range(len(left))
            if left[i]
        ]
        return np.concatenate(parts)

    return dealt(tuple(counts.tolist()))


def _count_far(first: Floats, second: Floats, least: float) -> int:
    """Count the pairs whose sum is at least `least` away from 0."""
    if least <= 0:
        return first.size * second.size
    ordered = np.sort(first)
    above = ordered.size - np.searchsorted(ordered, least - second, side="left")
    below = np.searchsorted(ordered, -least - second, side="right")
    return int((above + below).sum())


def _draw(blocks: Sequence[Block], draws: int, seed: int) -> Floats:
    """Return the sums of random assignments, shape (draws,)."""
    numbers, sums = rng.numpy_stream(seed, "bootstrap"), np.zeros(draws)
    for amounts, weights in blocks:
        sums += numbers.permuted(np.tile(amounts, (draws, 1)), axis=1) @ weights
    return sums
