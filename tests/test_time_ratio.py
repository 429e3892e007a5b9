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
    assert of(times, [True] * 4, x, blocks=[7] * 4).note == "no interval from a single seed"
    by_hand = [math.log(25 / 12), math.log(20 / 10)]  # without the one and the other seed
    half = 12.7062 * abs(by_hand[0] - by_hand[1]) / 2
    found = of(times, [True] * 4, x, blocks=[0, 0, 1, 1])
    assert math.log(found.upper / found.lower) / 2 == pytest.approx(half, rel=1e-4)
    alone = of([5.0, 9.0, 9.0, 9.0], [True, True, False, True], x, blocks=[0, 0, 1, 1])
    assert "hangs on a single seed" in alone.note


@pytest.mark.parametrize("horizon", [math.inf, 60])
def test_the_interval_covers_the_truth_as_often_as_it_says(horizon):
    numbers, hits, intervals = np.random.default_rng(1), 0, 0
    x, seeds = np.repeat([0.0, 0.5, 1.0], 5), np.tile(np.arange(5), 3)
    for _ in range(150):
        noise = numbers.normal(0, 0.3, 15) + numbers.normal(0, 0.2, 5)[seeds]
        lives = np.ceil(np.exp(math.log(40) - x + noise))
        times = np.minimum(lives, min(horizon, lives.max()))
        found = time_ratio(times, lives <= horizon, x, [0] * 15, seeds.tolist())
        if not math.isnan(found.lower):
            intervals += 1
            hits += found.lower <= math.exp(-1) <= found.upper
    assert intervals > 140
    assert 0.87 < hits / intervals <= 1


def test_data_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="finite ones"):
        time_ratio([1, 2], [True, True], [0, math.nan], [0, 0], [0, 1])
    with pytest.raises(UserError, match="2 runs"):
        time_ratio([1, 2], [True, True], [0, 1], [0, 0], [0])
