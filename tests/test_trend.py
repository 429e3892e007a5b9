"""Trends of validation losses, and bootstrap intervals over runs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from collapse_lm import rng
from collapse_lm.analysis.stats.trend import bootstrap_interval, run_trend, trend
from collapse_lm.errors import UserError

losses = st.floats(0, 20, allow_nan=False)
series = st.dictionaries(st.integers(0, 500), losses, min_size=2, max_size=12)


def test_numpy_streams_are_named_and_stable():
    draws = [rng.numpy_stream(*name).random() for name in ((0, "bootstrap"), (1, "bootstrap"))]
    assert draws[0] == rng.numpy_stream(0, "bootstrap", 0).random()
    assert len({*draws, rng.numpy_stream(0, "sample").random()}) == 3
    assert draws[0] == pytest.approx(0.8250047138219924, abs=1e-15)


@given(series)
def test_slope_and_spearman_agree_with_scipy(values):
    ours = run_trend(values)
    updates = sorted(values)
    y = [values[update] for update in updates]
    assert ours.slope == pytest.approx(stats.linregress(updates, y).slope, rel=1e-9, abs=1e-12)
    if len(set(y)) == 1:
        assert math.isnan(ours.spearman)
    else:
        assert ours.spearman == pytest.approx(stats.spearmanr(updates, y).statistic, abs=1e-9)


def test_a_trend_by_hand():
    found = run_trend({20: 4.0, 0: 3.0, 10: 5.0, 30: 4.0})
    assert found.slope == pytest.approx(0.02)  # (-15*3 - 5*5 + 5*4 + 15*4) / 500
    assert found.spearman == pytest.approx(math.sqrt(0.1))  # ranks 1, 4, 2.5, 2.5
    assert found.rises == pytest.approx(1 / 3)
    assert found.ends_above == 1
    assert run_trend({0: 3.0, 5: 3.0}).ends_above == 0


@pytest.mark.parametrize("bad", [{}, {0: 3.0}, {0: 3.0, 1: math.nan}, {0: 3.0, 1: math.inf}])
def test_a_run_without_two_finite_losses_has_no_trend(bad):
    found = run_trend(bad)
    assert np.isnan([found.slope, found.spearman, found.rises, found.ends_above]).all()
    whole = trend({"a": bad, "b": {0: 1.0, 1: 2.0}}, seed=0)
    assert (whole.slope.value, whole.slope.runs) == (1, 1)
    assert math.isnan(trend({"a": bad}, seed=0).slope.value)
    assert trend({"a": bad}, seed=0).slope.runs == 0


def test_means_are_over_runs_not_over_updates():
    long = dict.fromkeys(range(50), 3.0) | {50: 2.0}
    whole = trend({"rising": {0: 1.0, 1: 2.0}, "long": long}, seed=0)
    assert whole.ends_above.value == 0.5
    assert whole.rises.value == 0.5
    assert whole.slope.value == pytest.approx((1 + whole.by_run["long"].slope) / 2)
    assert (whole.ends_above.lower, whole.ends_above.upper) == (0, 1)


def test_a_single_run_has_no_interval():
    interval = bootstrap_interval([3.5], np.mean, 0.95, seed=0)
    assert (interval.value, interval.runs) == (3.5, 1)
    assert np.isnan([interval.lower, interval.upper]).all()


def test_the_interval_is_the_exact_bootstrap_of_two_runs():
    """Means of two draws from {0, 1}: 0, 1/2, 1 with chances 1/4, 1/2, 1/4."""
    wide = bootstrap_interval([0.0, 1.0], np.mean, 0.95, seed=0)
    assert (wide.lower, wide.upper) == (0, 1)
    narrow = bootstrap_interval([0.0, 1.0], np.mean, 0.4, seed=0)
    assert (narrow.lower, narrow.upper) == (0.5, 0.5)


def test_the_interval_agrees_with_scipy():
    values = rng.numpy_stream(5, "init").normal(size=30)
    ours = bootstrap_interval(values, np.mean, 0.9, seed=0, resamples=20_000)
    draws = rng.numpy_stream(6, "init")
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", confidence_level=0.9, rng=draws
    ).confidence_interval
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_whole_runs_are_drawn_and_the_seed_decides():
    values = np.arange(12.0).reshape(4, 3)
    intact = bootstrap_interval(values, lambda rows: float(np.ptp(rows, axis=1).max()), seed=0)
    assert (intact.lower, intact.value, intact.upper) == (2, 2, 2)
    values = rng.numpy_stream(7, "init").normal(size=9)
    first, again, other = (bootstrap_interval(values, np.mean, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_runs_of_one_unit_are_drawn_together():
    """Units {0, 0} and {1, 1, 1, 1}: two draws have means 0, 4/6 and 1, as likely as 1, 2, 1."""
    values, units = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0], list("abbabb")
    interval = bootstrap_interval(values, np.mean, 0.95, seed=0, units=units)
    assert (interval.lower, interval.value, interval.upper) == (0, 4 / 6, 1)
    assert interval.runs == 6
    narrow = bootstrap_interval(values, np.mean, 0.4, seed=0, units=units)
    assert (narrow.lower, narrow.upper) == pytest.approx((4 / 6, 4 / 6))
    alone = bootstrap_interval(values, np.mean, 0.95, seed=0, units=["a"] * 6)
    assert np.isnan([alone.lower, alone.upper]).all()


def test_seeds_of_one_model_do_not_narrow_an_interval():
    """Ten equal seeds of each model say no more of models than one."""
    models = rng.numpy_stream(8, "init").normal(size=6)
    one = bootstrap_interval(models, np.mean, seed=0)
    ten = bootstrap_interval(np.repeat(models, 10), np.mean, seed=0, units=np.repeat(range(6), 10))
    assert (ten.lower, ten.upper) == pytest.approx((one.lower, one.upper))
    runs = bootstrap_interval(np.repeat(models, 10), np.mean, seed=0)
    assert runs.upper - runs.lower < (one.upper - one.lower) / 2


def test_a_trend_over_units_leaves_out_what_has_none():
    series = {"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 2.0}, "c": {0: 3.0, 1: 1.0}, "d": {0: 1.0}}
    units = {"a": "x", "b": "x", "c": "y", "d": "z"}
    over_runs, over_units = trend(series, seed=0), trend(series, seed=0, units=units)
    assert over_units.slope.value == over_runs.slope.value == 0
    assert over_units.slope.runs == 3
    assert (over_units.slope.lower, over_units.slope.upper) == (-2, 1)


@pytest.mark.parametrize(
    ("values", "options"),
    [([], {}), ([1.0, 2.0], {"resamples": 0}), ([1.0, 2.0], {"units": ["a"]})],
)
def test_nothing_to_resample_is_refused(values, options):
    with pytest.raises(UserError):
        bootstrap_interval(values, np.mean, seed=0, **options)
    with pytest.raises(UserError):
        bootstrap_interval([1.0, 2.0], np.mean, 1.5, seed=0)
    with pytest.raises(UserError):
        trend({}, seed=0)
