"""Time ratios: against the definition, under separation and censoring, and how often right."""

import math

import numpy as np
import pytest
from survival_data import both_groups

from collapse_lm.analysis.stats.time_ratio import time_ratio
from collapse_lm.errors import UserError


def of(times, observed, covariate, blocks=None, strata=None):
    runs = len(times)
    return time_ratio(times, observed, covariate, strata or [0] * runs, blocks or range(runs))


def loss(effect, times, observed, covariate, strata):
    """Gehan's loss as Jin, Lin, Wei and Ying (2003) write it, in loops."""
    residual = np.log(times) - effect * covariate
    return sum(
        max(0.0, residual[other] - residual[run])
        for run in range(len(times))
        for other in range(len(times))
        if observed[run] and strata[run] == strata[other]
    )


def test_the_estimate_is_where_the_loss_is_least():
    numbers, estimates = np.random.default_rng(0), 0
    for _ in range(40):
        x, strata = numbers.choice([0.0, 0.5, 1.0], 12), numbers.integers(0, 2, 12).tolist()
        lives, ends = np.exp(numbers.normal(2 + x, 0.5)), numbers.uniform(5, 40, 12)
        times, observed = np.ceil(np.minimum(lives, ends)), lives <= ends
        found = of(times, observed, x, strata=strata)
        if found.bound or math.isnan(found.value):
            continue
        estimates += 1
        least = min(loss(e, times, observed, x, strata) for e in np.linspace(-5, 5, 301))
        assert loss(math.log(found.value), times, observed, x, strata) <= least + 1e-9
    assert estimates > 30


def test_without_censored_runs_it_is_the_median_ratio_over_pairs():
    slow, fast = [20.0, 28.0, 25.0], [4.0, 5.0, 7.0]
    found = of(slow + fast, [True] * 6, [0] * 3 + [1] * 3)
    assert found.value == pytest.approx(np.median([b / a for a in slow for b in fast]))
    assert found.lower < found.value < found.upper
    assert math.isfinite(found.upper)  # though the runs are separated
    assert found.bound == found.note == ""


def test_on_a_published_example_it_is_near_the_parametric_one():
    """6-MP against placebo: Weibull's estimate is exp(1.267) = 3.55 (Venables and Ripley)."""
    times, observed, placebo = both_groups()
    found = of(times, observed, 1 - placebo[:, 0])
    assert found.lower < 3.55 < found.upper
    assert found.value == pytest.approx(3.55, rel=0.15)
    other = of(times, observed, placebo[:, 0])
    assert other.value == pytest.approx(1 / found.value)
    assert other.lower == pytest.approx(1 / found.upper)


@pytest.mark.parametrize(
    ("slow_seen", "value", "bound"),
    [
        ([False] * 3, 5 / 40, "at most"),  # 4, 5 and 7 of more than 40
        ([True, False, False], None, ""),
    ],
)
def test_where_runs_collapse_at_one_end_only_there_is_a_bound(slow_seen, value, bound):
    found = of([40.0] * 3 + [4.0, 5.0, 7.0], slow_seen + [True] * 3, [0] * 3 + [1] * 3)
    assert found.bound == bound
    if value:
        assert found.value == pytest.approx(value)
        turned = of([40.0] * 3 + [4.0, 5.0, 7.0], slow_seen + [True] * 3, [1] * 3 + [0] * 3)
        assert (turned.bound, turned.value) == ("at least", pytest.approx(1 / value))
    else:
        assert 0 < found.value < 1


@pytest.mark.parametrize(
    ("times", "observed", "note"),
    [
        ([9, 9, 9, 9], [False] * 4, "no run collapsed"),
        ([6, 12, 12, 12], [True, False, False, False], "too few"),  # of the first, 1 of 2
        ([0, 0, 5, 5], [False, False, True, True], "no two runs"),  # nothing is seen in 0 updates
    ],
)
def test_where_nothing_is_known_nothing_is_said(times, observed, note):
    found = of(times, observed, [0, 0, 1, 1])
    assert math.isnan(found.value)
    assert note in found.note


def test_strata_are_compared_within():
    """In each stratum the second takes twice as long, though strata differ by a hundred."""
    times, x = [1.0, 2.0, 100.0, 200.0], [0, 1, 0, 1]
    assert of(times, [True] * 4, x, strata=["a", "a", "b", "b"]).value == pytest.approx(2)
    assert of(times[:2], [True] * 2, x[:2], strata=["a", "b"]).note == "no two runs can be compared"


def test_the_interval_is_over_seeds():
    times, x = [10.0, 20.0, 12.0, 25.0], [0, 1, 0, 1]
    assert of(times, [True] * 4, x, blocks=[7] * 4).note == "no interval from fewer than 3 seeds"
    times, x, blocks = [1e3, 2e3, 12e2, 25e2, 9e2, 4e3], [0, 1] * 3, [0, 0, 1, 1, 2, 2]
    found = of(times, [True] * 6, x, blocks=blocks)
    pairs = [(a, b) for a in (0, 2, 4) for b in (1, 3, 5)]
    without = [
        np.median(
            [math.log(times[b] / times[a]) for a, b in pairs if left_out not in (a // 2, b // 2)]
        )
        for left_out in range(3)
    ]
    deviations = np.array(without) - math.log(found.value)
    half = 4.30265 * math.sqrt((deviations**2).sum())
    assert math.log(found.upper / found.value) == pytest.approx(half, rel=1e-4)
    assert math.log(found.value / found.lower) == pytest.approx(half, rel=1e-4)
    seen = [True, True, False, True, False, True]
    alone = of([5.0, 9.0, 9.0, 9.0, 9.0, 9.0], seen, x, blocks=blocks)
    assert "hangs on a single seed" in alone.note


def test_whole_numbers_of_updates_give_no_certainty():
    """Four values of weight decay, two seeds, eight collapses from 7 to 10: it was 1 to 1."""
    times, x = [8, 10, 8, 7, 9, 8, 8, 8], np.repeat([0, 1 / 30, 1 / 3, 1], 2)
    found = of(times, [True] * 8, x, blocks=[0, 1] * 4)
    assert (found.value, found.note) == (1, "no interval from fewer than 3 seeds")
    assert math.isnan(found.lower)
    again = of([*times, 8, 8, 8, 8], [True] * 12, [*x, *x[::2]], blocks=[0, 1] * 4 + [2] * 4)
    assert again.note == "no interval, as times are so alike that no seed makes a difference"


def test_an_interval_is_no_narrower_than_the_updates_between_probes_allow():
    """A collapse that is seen at update 12, with a probe every 4, may be one of 10 or of 14."""
    columns = ([8, 8, 8, 12, 12, 13], [True] * 6, [0, 0, 0, 1, 1, 1], [0] * 6, [0, 1, 2] * 2)
    found, coarse = time_ratio(*columns), time_ratio(*columns, spacing=4)
    assert coarse.lower <= 10 / 10 < found.lower
    assert found.upper < 14 / 6 <= coarse.upper


@pytest.mark.parametrize(
    ("levels", "seeds", "start", "effect", "noise", "horizon", "least"),
    [
        (3, 5, 40, -1.0, 0.3, math.inf, 190),
        (3, 5, 40, -1.0, 0.3, 60, 190),
        (2, 4, 100, 0.0, 0.5, math.inf, 190),
        (2, 3, 8, 0.7, 0.1, math.inf, 150),  # tied times from here on
        (4, 3, 8, 0.0, 0.1, math.inf, 100),
        (2, 8, 8, 0.7, 0.1, math.inf, 120),
        (4, 2, 8, 0.0, 0.1, math.inf, 0),
    ],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(
    levels, seeds, start, effect, noise, horizon, least
):
    """Of 200 samples at least 90 % of the intervals hold it (93 to 100 % in larger samples)."""
    numbers, hits, intervals = np.random.default_rng(1), 0, 0
    x, seed = np.repeat(np.linspace(0, 1, levels), seeds), np.tile(np.arange(seeds), levels)
    for _ in range(200):
        own, shared = numbers.normal(0, noise, len(x)), numbers.normal(0, noise, seeds)[seed]
        logs = effect * x + math.sqrt(2 / 3) * own + math.sqrt(1 / 3) * shared
        lives = np.ceil(start * np.exp(logs))
        times = np.minimum(lives, min(horizon, lives.max()))
        found = time_ratio(times, lives <= horizon, x, [0] * len(x), seed.tolist())
        if not math.isnan(found.lower):
            intervals += 1
            hits += found.lower <= math.exp(effect) <= found.upper
    assert intervals >= least
    assert hits >= 0.9 * intervals
    assert (intervals == 0) is (seeds < 3)


def test_data_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="finite ones"):
        time_ratio([1, 2], [True, True], [0, math.nan], [0, 0], [0, 1])
    with pytest.raises(UserError, match="2 runs"):
        time_ratio([1, 2], [True, True], [0, 1], [0, 0], [0])
