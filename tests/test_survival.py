"""Kaplan-Meier curves, against tables, another library and definitions."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from statsmodels.duration.survfunc import SurvfuncRight
from survival_data import PLACEBO, SIX_MP, read, runs

from collapse_lm.analysis.stats.survival import kaplan_meier
from collapse_lm.errors import UserError

Z = {0.8: 1.2815515655446004, 0.95: 1.959963984540054}  # normal quantiles at .9 and .975


def at_events(curve, column):
    return getattr(curve, column)[curve.events > 0]


def test_the_published_curve_of_6_mp():
    curve = kaplan_meier(*read(SIX_MP))
    assert at_events(curve, "time").tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert at_events(curve, "at_risk").tolist() == [21, 17, 15, 12, 11, 7, 6]
    published = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert at_events(curve, "survival") == pytest.approx(published, abs=5e-4)
    # Standard errors on the scale of S, as PROC LIFETEST prints them.
    S, lower = at_events(curve, "survival"), at_events(curve, "lower")
    log_log = np.log(np.log(lower) / np.log(S)) / Z[0.95]
    errors = [0.0764, 0.0869, 0.0963]
    assert (log_log * -S * np.log(S))[:3] == pytest.approx(errors, abs=5e-5)
    assert (curve.runs, curve.collapses) == (21, 9)
    assert (curve.censored.sum(), curve.events.sum()) == (12, 9)


def test_the_published_medians():
    six, placebo = kaplan_meier(*read(SIX_MP)), kaplan_meier(*read(PLACEBO))
    assert (six.median, six.median_lower, six.median_upper) == (23, 13, None)
    assert (placebo.median, placebo.median_lower, placebo.median_upper) == (8, 4, 11)
    assert six.note == "the data give no upper limit of the median"
    assert placebo.note == ""


def test_limits_by_hand():
    """S = 2/3 after 1 of 3: the variance of log(-log S) is (1/6) / (log 2/3)^2."""
    curve = kaplan_meier([1, 2, 3], [True, False, True])
    width = Z[0.95] * math.sqrt(1 / 6) / -math.log(2 / 3)
    assert curve.lower[0] == pytest.approx((2 / 3) ** math.exp(width), rel=1e-12)
    assert curve.upper[0] == pytest.approx((2 / 3) ** math.exp(-width), rel=1e-12)
    assert curve.survival.tolist() == pytest.approx([2 / 3, 2 / 3, 0])


@given(runs(), st.sampled_from([0.8, 0.95]))
@example(([3, 3, 5], [True, False, True]), 0.95)
@example(([2, 2], [False, False]), 0.95)
@example(([4], [True]), 0.8)
def test_limits_are_those_of_greenwood_on_the_scale_of_log_log(group, confidence):
    """Term by term, with a row of NaN where S is 1 or 0."""
    times, observed = group
    curve = kaplan_meier(times, observed, confidence)
    product, greenwood = 1.0, 0.0
    for place, t in enumerate(sorted(set(times))):
        at_risk = sum(v >= t for v in times)
        died = sum(seen for v, seen in zip(times, observed, strict=True) if v == t)
        limits = (curve.lower[place], curve.upper[place])
        product *= 1 - died / at_risk
        if died == at_risk or product == 1:
            assert np.isnan(limits).all()
            continue
        greenwood += died / (at_risk * (at_risk - died))
        width = Z[confidence] * math.sqrt(greenwood) / -math.log(product)
        expected = [product ** math.exp(side * width) for side in (1, -1)]
        assert limits == pytest.approx(expected, abs=1e-9)


@given(runs())
def test_the_curve_is_the_direct_product_over_times(group):
    times, observed = group
    curve = kaplan_meier(times, observed)
    for place, t in enumerate(curve.time):
        product = 1.0
        for u in {u for u, seen in zip(times, observed, strict=True) if seen and u <= t}:
            died = sum(seen for v, seen in zip(times, observed, strict=True) if v == u)
            product *= 1 - died / sum(v >= u for v in times)
        assert curve.survival[place] == pytest.approx(product, abs=1e-12)
        assert curve.at_risk[place] == sum(v >= t for v in times)
        ended = [seen for v, seen in zip(times, observed, strict=True) if v == t]
        assert (curve.events[place], curve.censored[place]) == (sum(ended), ended.count(False))


@given(runs(minimum=2, maximum=30))
@pytest.mark.filterwarnings("ignore::RuntimeWarning:statsmodels")
def test_the_median_and_its_limits_agree_with_statsmodels(group):
    times, observed = map(np.array, group)
    assume(observed.any())
    curve = kaplan_meier(times, observed)
    # At S = 0 statsmodels takes an undefined band for one that excludes 1/2.
    assume(curve.survival[-1] > 0)
    theirs = SurvfuncRight(times, observed.astype(int))
    below = theirs.surv_times[theirs.surv_prob <= 0.5 + 1e-12]
    assert curve.median == (below[0] if len(below) else None)
    lower, upper = theirs.quantile_ci(0.5)
    assume(not math.isnan(lower))  # no collapse with 1/2 inside of its band
    assert (curve.median_lower, curve.median_upper) == (
        lower,
        None if math.isinf(upper) else upper,
    )


def test_a_half_that_rounds_up_is_the_median():
    """9/10 * 6/9 * 5/6 in floating point is above 1/2."""
    times = [0, 1, 1, 1, 2, 2, 2, 3, 4, 4]
    curve = kaplan_meier(times, [True] * 4 + [False, True, False] + [True] * 3)
    assert curve.median == 2


def test_a_collapse_comes_before_a_censoring_at_the_same_time():
    curve = kaplan_meier([5, 5], [False, True])
    assert (curve.at_risk.tolist(), curve.survival.tolist()) == ([2], [0.5])


def test_a_group_without_a_collapse_has_no_median_and_no_limits():
    curve = kaplan_meier([400, 400, 300], [False] * 3)
    assert curve.survival.tolist() == [1, 1]
    assert np.isnan(curve.lower).all()
    assert np.isnan(curve.upper).all()
    assert (curve.median, curve.median_lower, curve.median_upper) == (None, None, None)
    assert (
        curve.note == "median not reached: 0 of 3 runs collapsed, the longest run has 400 updates"
    )


def test_a_single_run_has_a_median_and_no_limits():
    curve = kaplan_meier([7], [True])
    assert (curve.median, curve.median_lower, curve.median_upper) == (7, None, None)
    assert curve.survival.tolist() == [0]
    assert np.isnan([*curve.lower, *curve.upper]).all()
    assert curve.note == "the data give no lower and no upper limit of the median"


@pytest.mark.parametrize(
    ("times", "observed", "confidence"),
    [
        ([], [], 0.95),
        ([1, 2], [True], 0.95),
        ([math.nan], [True], 0.95),
        ([math.inf], [False], 0.95),
        ([-1], [True], 0.95),
        ([1], [2], 0.95),
        ([1], [True], 95),
        ([1], [True], 0),
    ],
)
def test_what_is_no_survival_data_is_refused(times, observed, confidence):
    with pytest.raises(UserError):
        kaplan_meier(times, observed, confidence)
