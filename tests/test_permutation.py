"""Permutation tests, counted and drawn, against all permutations written out."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from collapse_lm.analysis.stats.ordered import concordance, trend_test
from collapse_lm.analysis.stats.permutation import count_assignments, permutation_test, smallest_p
from collapse_lm.errors import UserError

amounts = st.sampled_from([0.0, 1.0, 2.0, 5.0])
weights = st.integers(-3, 3).map(lambda n: n / 4)
blocks = st.lists(st.lists(st.tuples(amounts, weights), min_size=1, max_size=4), max_size=3)


def arrays(block):
    return tuple(np.array(column) for column in zip(*block, strict=True))


def p_by_definition(blocks):
    """Every order of every block, whether it differs from another or not."""

    def distance(dealt):
        """How far the sum over blocks lies from its mean over all orders."""
        total = 0.0
        for order, (x, w) in zip(dealt, blocks, strict=True):
            total += sum((a - sum(x) / len(x)) * b for a, b in zip(order, w, strict=True))
        return abs(total)

    seen = distance([x for x, _ in blocks])
    orders = list(itertools.product(*(itertools.permutations(x) for x, _ in blocks)))
    return sum(distance(dealt) >= seen - 1e-9 for dealt in orders) / len(orders)


@given(blocks)
@settings(deadline=None)
def test_the_counted_p_is_the_share_over_all_orders(drawn):
    given_blocks = [arrays(block) for block in drawn]
    found = permutation_test(given_blocks, seed=0)
    varied = [(x, w) for x, w in given_blocks if np.ptp(x) > 0]
    assert found.exact
    distinct = [len(set(itertools.permutations(x.tolist()))) for x, _ in varied]
    assert found.assignments == math.prod(distinct)
    if any(np.ptp(w) > 0 for _, w in varied):
        assert found.p_value == pytest.approx(p_by_definition(given_blocks))
        assert found.p_value >= found.smallest
    else:
        assert math.isnan(found.p_value)


def test_one_block_is_the_permutation_test_of_scipy():
    x, w = np.array([1.0, 2, 4, 8, 16]), np.array([0.3, -0.2, 0.1, 0.9, -0.4])
    theirs = stats.permutation_test(
        (x,),
        lambda x: abs((x - x.mean()) @ w),
        permutation_type="pairings",
        alternative="greater",
        n_resamples=math.inf,
    )
    assert permutation_test([(x, w)], seed=0).p_value == pytest.approx(theirs.pvalue)


def test_the_drawn_p_is_near_the_counted_one_and_repeats_with_its_seed():
    block = (np.array([1.0, 1, 1, 1, 2, 2, 2, 2]), np.array([3.0, 4, 9, 7, 8, 5, 10, 12]))
    exact = permutation_test([block], seed=0)
    assert (exact.exact, exact.assignments) == (True, 70)
    options = {"draws": 4000, "exact_up_to": 69}
    first, again, other = (permutation_test([block], seed=s, **options) for s in (1, 1, 2))
    assert first == again != other
    assert (first.exact, first.assignments, first.smallest) == (False, 4000, 1 / 4001)
    error = math.sqrt(exact.p_value * (1 - exact.p_value) / 4000)
    assert first.p_value == pytest.approx(exact.p_value, abs=4 * error)
    least = permutation_test([block], seed=0, draws=1, exact_up_to=69)
    assert least.p_value in (0.5, 1.0)


def test_blocks_that_are_too_many_to_hold_are_counted_in_halves():
    """8 blocks of 4: 24^8 assignments, of which 2 are as extreme as perfect order."""
    block = (np.arange(4.0), np.array([0.5, 0.25, -0.25, -0.5]))
    found = permutation_test([block] * 8, seed=0)
    assert (found.exact, found.assignments) == (True, 24**8)
    assert found.p_value == found.smallest == 2 / 24**8
    assert not permutation_test([block] * 9, seed=0, exact_up_to=24**4).exact


@pytest.mark.parametrize(
    ("design", "least"),
    [
        ([[2, 2, 1, 1]], 2 / 6),
        ([[3, 3, 3, 1, 1, 1]], 2 / 20),  # three runs against three
        ([[3, 3, 2, 2, 1, 1]], 2 / 90),
        ([[4, 4, 2, 2, 1, 1]], 1 / 90),  # not even about the mean
        ([[3, 1], [3, 1], [3, 1]], 2 / 8),
        ([[3, 2, 1]] * 3, 2 / 216),
        ([[4, 2, 1]] * 3, 1 / 216),
        ([[4, 2, 1], [2, 1]], 1 / 12),
        ([[1.0, 2, 4, 8, 15]], 1 / 120),
        ([[4, 2, 1], [7]], 1 / 6),
        ([[2, 1], [7]], 2 / 2),
        ([[1, 1]], 1),
        ([], 1),
    ],
)
def test_the_smallest_p_is_reached_where_weights_follow_amounts(design, least):
    levels = [np.array(block, dtype=float) for block in design]
    assert smallest_p(levels) == pytest.approx(least)
    found = permutation_test([(block, block) for block in levels], seed=0)
    assert found.smallest == pytest.approx(least)
    if least < 1:
        assert found.p_value == pytest.approx(least)


def test_assignments_are_counted():
    assert (count_assignments([3, 3]), count_assignments([2, 2, 2])) == (20, 90)


# The log-rank test for trend


def score_p(times, observed, x):
    """All permutations, and the score of the log-rank test for trend written out."""

    def score(order):
        total = 0.0
        for t, seen in zip(times, observed, strict=True):
            if seen:
                risk = [order[i] for i in range(len(times)) if times[i] >= t]
                event = order[times.index(t)]
                total += event - sum(risk) / len(risk)
        return total

    scores = [abs(score(order)) for order in itertools.permutations(x)]
    return sum(s >= abs(score(x)) - 1e-9 for s in scores) / len(scores)


@pytest.mark.parametrize(
    ("times", "observed"),
    [
        ([1, 2, 3, 7, 8, 9], [1, 1, 1, 1, 1, 1]),
        ([2, 1, 5, 6, 9, 3], [1, 1, 0, 1, 1, 0]),
        ([9, 8, 7, 1, 3, 2], [0, 1, 1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("x", [[3.0, 3, 3, 1, 1, 1], [5.0, 4, 3, 3, 1, 1], [1.0, 2, 4, 8, 5, 3]])
def test_the_test_for_trend_is_that_of_all_permutations(times, observed, x):
    found = trend_test(times, observed, x, ["s"] * 6, seed=0)
    assert found.exact
    assert found.p_value == pytest.approx(score_p(times, observed, x))


def test_three_runs_against_three_cannot_be_significant():
    x, times = [3, 3, 3, 1, 1, 1], [1, 2, 3, 7, 8, 9]
    found = trend_test(times, [1] * 6, x, [0] * 6, seed=0)
    assert (found.p_value, found.smallest, found.assignments) == (0.1, 0.1, 20)
    assert math.isnan(trend_test(times, [0] * 6, x, [0] * 6, seed=0).p_value)
    assert math.isnan(trend_test(times, [1] * 6, x, x, seed=0).p_value)  # constant in each stratum


def test_five_models_in_perfect_order_are_one_of_120():
    sizes = [5.2, 5.6, 6.1, 6.4, 6.7]
    found = trend_test([50, 40, 30, 20, 10], [1] * 5, sizes, [0] * 5, seed=0)
    assert (found.p_value, found.smallest) == (1 / 120, 1 / 120)
    seeds = [t + s for s in range(3) for t in (50, 40, 30, 20, 10)]
    units = list("abcde") * 3
    repeated = trend_test(seeds, [1] * 15, sizes * 3, [0] * 15, seed=0, units=units)
    assert (repeated.p_value, repeated.assignments) == (1 / 120, 120)
    reversed_order = trend_test([10, 20, 30, 40, 50], [1] * 5, sizes, [0] * 5, seed=0)
    assert 1 / 120 < reversed_order.p_value < 0.05  # the tails are not alike


def test_runs_of_different_strata_are_not_compared():
    times, x = [1, 2, 11, 12], [2, 1, 2, 1]
    strata = ["a", "a", "b", "b"]
    assert concordance(times, [1] * 4, x, strata) == 1
    assert concordance(times, [1] * 4, x, ["a"] * 4) == 3 / 4
    assert trend_test(times, [1] * 4, x, strata, seed=0).p_value == 2 / 4
    assert trend_test(times, [1] * 4, x, ["a"] * 4, seed=0).assignments == 6


def test_runs_of_one_unit_are_dealt_together():
    times, x = [1, 2, 11, 12, 21, 22], [3, 3, 2, 2, 1, 1]
    alone = trend_test(times, [1] * 6, x, [0] * 6, seed=0)
    together = trend_test(times, [1] * 6, x, [0] * 6, seed=0, units=list("aabbcc"))
    assert alone.p_value == 2 / 90
    assert (together.p_value, together.assignments) == (2 / 6, 6)


def test_a_unit_that_is_seen_in_two_strata_is_dealt_once():
    times, x = [1, 2, 3, 11, 12, 13], [4, 3, 1] * 2
    strata, units = [0, 0, 0, 1, 1, 1], list("abcabc")
    found = trend_test(times, [1] * 6, x, strata, seed=0, units=units)
    assert (found.p_value, found.assignments) == (1 / 6, 6)
    runs = trend_test(times, [1] * 6, x, strata, seed=0)
    assert runs.assignments == 36
    # Models that were not seen in the same strata cannot swap their sizes.
    some = trend_test(times[:5], [1] * 5, x[:5], strata[:5], seed=0, units=units[:5])
    assert some.assignments == 2


def test_within_blocks_only_what_a_block_holds_is_dealt():
    """Seeds differ more than rates do: only within seeds is the order perfect."""
    times, x = [1, 2, 3, 11, 12, 13, 21, 22, 23], [4.0, 3.0, 1.0] * 3
    blocks = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    within = trend_test(times, [1] * 9, x, [0] * 9, seed=0, blocks=blocks)
    assert (within.p_value, within.assignments) == (1 / 216, 216)
    across = trend_test(times, [1] * 9, x, [0] * 9, seed=0)
    assert (across.assignments, across.p_value > 0.05) == (1680, True)


def test_blocks_of_unequal_make_up_are_measured_from_their_means():
    """A seed that was run late and at high rates only is no evidence against the rates."""
    times, x, blocks = [1, 2, 3, 4], [4.0, 3.0, 2.0, 1.0], [0, 0, 1, 1]
    found = trend_test(times, [1] * 4, x, [0] * 4, seed=0, blocks=blocks)
    assert (found.p_value, found.smallest) == (2 / 4, 2 / 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"covariate": [1.0]},
        {"covariate": [1.0, math.nan]},
        {"strata": [0]},
        {"units": ["a"]},
        {"blocks": [0]},
        {"units": ["a", "a"]},  # two covariates in one unit
        {"covariate": [1.0, 1.0], "units": ["a", "a"], "blocks": [0, 1]},
        {"times": [-1, 2]},
    ],
)
def test_what_cannot_be_dealt_is_refused(wrong):
    right = {"times": [1, 2], "observed": [1, 1], "covariate": [1.0, 2.0], "strata": [0, 0]}
    with pytest.raises(UserError):
        trend_test(**{**right, **wrong}, seed=0)


def test_concordance_by_hand():
    # The pairs (1st, 2nd), (1st, 3rd) and (3rd, 2nd) are ordered; a censored run is never first.
    assert concordance([1, 5, 3], [1, 0, 1], [3, 2, 1], [0] * 3) == 2 / 3
    assert concordance([4, 4], [1, 0], [2, 1], [0] * 2) == 1  # a collapse comes before a censoring
    assert math.isnan(concordance([4, 4], [1, 1], [2, 1], [0] * 2))
    assert math.isnan(concordance([1, 2], [0, 0], [2, 1], [0] * 2))
