"""Kaplan-Meier curves and log-rank tests, against tables, other libraries and definitions."""

import math
import warnings
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff
from survival_data import PLACEBO, SIX_MP, read, runs

from collapse_lm import rng
from collapse_lm.analysis.stats.log_rank import count_assignments, log_rank, smallest_p
from collapse_lm.analysis.stats.survival import kaplan_meier
from collapse_lm.errors import UserError


def at_events(curve, column):
    return getattr(curve, column)[curve.events > 0]


def test_the_published_curve_of_6_mp():
    curve = kaplan_meier(*read(SIX_MP))
    assert at_events(curve, "time").tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert at_events(curve, "at_risk").tolist() == [21, 17, 15, 12, 11, 7, 6]
    published = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert at_events(curve, "survival") == pytest.approx(published, abs=5e-4)
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
    width = 1.959963984540054 * math.sqrt(1 / 6) / -math.log(2 / 3)
    assert curve.lower[0] == pytest.approx((2 / 3) ** math.exp(width), rel=1e-12)
    assert curve.upper[0] == pytest.approx((2 / 3) ** math.exp(-width), rel=1e-12)
    assert curve.survival.tolist() == pytest.approx([2 / 3, 2 / 3, 0])


@given(runs(), st.sampled_from([0.8, 0.95]))
def test_curve_and_limits_agree_with_scipy(group, confidence):
    times, observed = map(np.array, group)
    data = stats.CensoredData(uncensored=times[observed], right=times[~observed])
    with np.errstate(all="ignore"):
        theirs = stats.ecdf(data).sf
        ours = kaplan_meier(times, observed, confidence)
        theirs_at = theirs.evaluate(ours.time)
        assert ours.survival == pytest.approx(theirs_at, abs=1e-9)
    defined = np.isfinite(ours.lower)
    assert defined.tolist() == ((ours.survival > 0) & (ours.survival < 1)).tolist()
    if defined.any() and observed.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            interval = theirs.confidence_interval(confidence, method="log-log")
        low, high = (limit.evaluate(ours.time)[defined] for limit in (interval.low, interval.high))
        assert ours.lower[defined] == pytest.approx(low, abs=1e-9)
        assert ours.upper[defined] == pytest.approx(high, abs=1e-9)


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


def test_the_published_log_rank_test():
    test = log_rank({"6-MP": read(SIX_MP), "placebo": read(PLACEBO)}, seed=0)
    assert test.chi2 == pytest.approx(16.79, abs=5e-3)
    assert (test.df, [group.observed for group in test.groups]) == (1, [9, 21])
    expected = [group.expected for group in test.groups]
    assert expected == pytest.approx([19.25, 10.75], abs=5e-3)
    assert not test.exact
    assert test.permutation_p < 0.002


def pooled(groups):
    times = np.concatenate([times for times, _ in groups])
    observed = np.concatenate([observed for _, observed in groups]).astype(int)
    return times, observed, np.repeat(np.arange(len(groups)), [len(t) for t, _ in groups])


@given(st.lists(runs(minimum=2, maximum=8), min_size=2, max_size=4))
@settings(deadline=None)
def test_log_rank_agrees_with_statsmodels_for_k_groups(groups):
    times, observed, labels = pooled(groups)
    ours = log_rank(dict(zip("abcd", groups, strict=False)), seed=0, permutations=1)
    assume(ours.df == len(groups) - 1)  # they invert a matrix that is singular otherwise
    chi2, p = survdiff(times, observed, labels)
    assert ours.chi2 == pytest.approx(chi2, rel=1e-9, abs=1e-9)
    assert ours.p_value == pytest.approx(p, rel=1e-9, abs=1e-9)
    assert sum(group.expected for group in ours.groups) == pytest.approx(observed.sum())


@given(runs(minimum=2), runs(minimum=2))
@settings(deadline=None)
def test_log_rank_agrees_with_scipy_for_two_groups(first, second):
    ours = log_rank({"a": first, "b": second}, seed=0, permutations=1)
    assume(ours.df == 1)
    sides = [
        stats.CensoredData(uncensored=t[seen], right=t[~seen])
        for t, seen in ((np.array(t), np.array(seen)) for t, seen in (first, second))
    ]
    theirs = stats.logrank(*sides)
    assert ours.chi2 == pytest.approx(theirs.statistic**2, rel=1e-9, abs=1e-9)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9, abs=1e-9)


def test_three_against_three_cannot_show_less_than_a_tenth():
    test = log_rank({"a": ([3, 4, 5], [1, 1, 1]), "b": ([8, 9, 10], [1, 1, 1])}, seed=0)
    assert test.p_value == pytest.approx(0.0246, abs=5e-5)
    assert (test.permutation_p, test.permutations, test.exact) == (0.1, 20, True)
    assert smallest_p([3, 3]) == 0.1


def chi2_by_definition(times, observed, first):
    surplus = variance = 0.0
    for t in set(times[observed]):
        n, n1 = (times >= t).sum(), ((times >= t) & first).sum()
        d, d1 = ((times == t) & observed).sum(), ((times == t) & observed & first).sum()
        surplus += d1 - d * n1 / n
        variance += d * n1 * (n - n1) * (n - d) / (n**2 * max(n - 1, 1))
    return surplus**2 / variance if variance else 0.0


@given(runs(minimum=3, maximum=7, latest=5))
@example(([0, 0, 0, 0, 0, 1], [False, False, True, True, False, True]))  # chi2 is 0
@settings(deadline=None)
def test_the_exact_p_is_the_share_over_all_orders(group):
    times, observed = map(np.array, group)
    first = np.arange(len(times)) < len(times) // 2
    ours = log_rank(
        {"a": (times[first], observed[first]), "b": (times[~first], observed[~first])}, seed=0
    )
    assume(ours.df == 1)
    orders = set(permutations(first.tolist()))
    chi2 = [chi2_by_definition(times, observed, np.array(order)) for order in orders]
    extreme = sum(value >= ours.chi2 - 1e-9 for value in chi2)
    assert ours.chi2 == pytest.approx(chi2_by_definition(times, observed, first), abs=1e-9)
    assert (ours.exact, ours.permutations) == (True, len(orders))
    assert ours.permutation_p == pytest.approx(extreme / len(orders))


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4), (1, 5), (4, 4), (2, 2, 2), (3, 3, 3), (2, 3, 4)])
def test_the_smallest_p_is_reached_by_separated_groups_and_by_no_others(sizes):
    total, groups = sum(sizes), {}
    for place, size in enumerate(sizes):
        start = sum(sizes[:place])
        groups[str(place)] = (list(range(start, start + size)), [True] * size)
    separated = log_rank(groups, seed=0)
    assert separated.exact
    assert separated.permutation_p == pytest.approx(smallest_p(sizes))
    shuffled = rng.numpy_stream(0, "bootstrap").permutation(total)
    mixed = {name: (shuffled[times], seen) for name, (times, seen) in groups.items()}
    assert log_rank(mixed, seed=0).permutation_p > smallest_p(sizes)


def test_the_smallest_p_of_four_seeds_can_be_significant():
    assert smallest_p([4, 4]) == pytest.approx(2 / 70)
    assert smallest_p([2, 2, 2]) == pytest.approx(6 / 90)
    with pytest.raises(UserError):
        smallest_p([3])


def test_the_drawn_p_is_near_the_exact_one_and_repeats_with_its_seed():
    groups = {"a": ([3, 4, 9, 7], [1, 1, 1, 1]), "b": ([8, 5, 10, 12], [1, 1, 0, 1])}
    exact = log_rank(groups, seed=0)
    options = {"permutations": 4000, "exact_up_to": 69}
    drawn = [log_rank(groups, seed=seed, **options) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert (exact.exact, exact.permutations) == (True, 70)
    assert (drawn[0].exact, drawn[0].permutations) == (False, 4000)
    error = math.sqrt(exact.permutation_p * (1 - exact.permutation_p) / 4000)
    assert drawn[0].permutation_p == pytest.approx(exact.permutation_p, abs=4 * error)
    least = log_rank(groups, seed=0, permutations=1, exact_up_to=69)
    assert least.permutation_p in (0.5, 1.0)


def test_assignments_are_counted():
    assert (count_assignments([3, 3]), count_assignments([2, 2, 2])) == (20, 90)


def test_without_a_collapse_nothing_is_compared():
    test = log_rank({"a": ([5, 6], [0, 0]), "b": ([7], [0])}, seed=0)
    assert test.df == 0
    assert np.isnan([test.chi2, test.p_value, test.permutation_p]).all()
    assert [group.expected for group in test.groups] == [0, 0]


def test_a_group_that_was_never_at_risk_costs_no_degree_of_freedom():
    early = ([1, 1], [0, 0])
    pair = {"a": ([3, 4, 6], [1, 1, 0]), "b": ([5, 8, 9], [1, 1, 1])}
    assert log_rank({**pair, "early": early}, seed=0).df == 1
    assert log_rank({**pair, "early": early}, seed=0).chi2 == pytest.approx(
        log_rank(pair, seed=0).chi2
    )


def test_one_group_is_no_comparison():
    with pytest.raises(UserError):
        log_rank({"a": ([1], [True])}, seed=0)
