"""Cox regression against statsmodels, published numbers, and direct slow definitions."""

import math
import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import CensoredData, logrank
from statsmodels.duration.hazard_regression import PHReg
from survival_data import both_groups, runs

from collapse_lm import rng
from collapse_lm.analysis.stats.cox import cox
from collapse_lm.analysis.stats.partial_likelihood import (
    differences,
    firth_likelihood,
    partial_likelihood,
    reach,
    risk_sets,
)
from collapse_lm.errors import UserError

DROP = 3.841458820694124 / 2  # half the 95 % point of chi2 with 1 degree of freedom
SEPARATED = ([3, 4, 5, 8, 9, 10], [True] * 6, [[1.0]] * 3 + [[0.0]] * 3)


@st.composite
def problems(draw, strata=2, covariates=2):
    """(times, observed, X, strata) with ties, strata and few distinct covariates."""
    times, observed = map(np.array, draw(runs(minimum=4, maximum=14)))
    k = draw(st.integers(1, covariates))
    cell = st.integers(-2, 2)
    row = st.lists(cell, min_size=k, max_size=k)
    X = draw(st.lists(row, min_size=len(times), max_size=len(times)))
    labels = draw(st.lists(st.integers(1, strata), min_size=len(times), max_size=len(times)))
    assume(observed.any())
    return times.astype(float), observed, np.array(X, dtype=float), np.array(labels)


def likelihood_by_definition(times, observed, X, strata, b):
    """Efron's log-likelihood, term by term."""
    total = 0.0
    for stratum, t in {(s, t) for s, t in zip(strata[observed], times[observed], strict=True)}:
        inside = strata == stratum
        tied = np.flatnonzero(inside & observed & (times == t))
        at_risk = math.fsum(math.exp(X[run] @ b) for run in np.flatnonzero(inside & (times >= t)))
        of_tied = math.fsum(math.exp(X[run] @ b) for run in tied)
        total += sum(X[run] @ b for run in tied)
        total -= sum(math.log(at_risk - of_tied * place / len(tied)) for place in range(len(tied)))
    return total


@given(problems(), st.lists(st.floats(-3, 3), min_size=2, max_size=2))
@settings(deadline=None)
def test_the_likelihood_is_efrons(problem, point):
    times, observed, X, strata = problem
    b = np.array(point[: X.shape[1]])
    value, gradient, information = partial_likelihood(risk_sets(*problem), b)
    assert value == pytest.approx(likelihood_by_definition(*problem, b), abs=1e-9)
    model = PHReg(times, X, status=observed.astype(float), strata=strata, ties="efron")
    assert value == pytest.approx(model.loglike(b), abs=1e-9)
    assert gradient == pytest.approx(model.score(b), abs=1e-8)
    assert information == pytest.approx(-model.hessian(b), abs=1e-8)


@given(problems(), st.lists(st.floats(-2, 2), min_size=2, max_size=2))
@settings(deadline=None)
def test_firths_penalty_and_its_gradient(problem, point):
    sets, b = risk_sets(*problem), np.array(point[: problem[2].shape[1]])
    value, _, information = partial_likelihood(sets, b)
    assume(np.linalg.det(information) > 1e-3)
    penalised, gradient, _ = firth_likelihood(sets, b)
    half_log = math.log(np.linalg.det(information)) / 2
    assert penalised == pytest.approx(value + half_log, abs=1e-9)
    for place, direction in enumerate(np.eye(len(b))):
        ahead, behind = (firth_likelihood(sets, b + s * 1e-5 * direction)[0] for s in (1, -1))
        assert gradient[place] == pytest.approx((ahead - behind) / 2e-5, abs=1e-5, rel=1e-5)


def test_the_published_regression():
    fit = cox(*both_groups(), ["placebo"])
    (placebo,) = fit.covariates
    assert placebo.estimate == pytest.approx(1.572, abs=5e-4)
    assert placebo.hazard_ratio == pytest.approx(4.82, abs=5e-3)
    assert placebo.standard_error == pytest.approx(0.412, abs=5e-4)
    assert 2 * (fit.log_likelihood - fit.null_log_likelihood) == pytest.approx(16.35, abs=5e-3)
    assert (fit.runs, fit.collapses, fit.note, placebo.note) == (42, 30, "", "")


def test_wald_profile_and_p_value_of_the_published_regression():
    times, observed, X = both_groups()
    (placebo,) = cox(times, observed, X, ["placebo"]).covariates
    theirs = PHReg(times, X, status=np.array(observed, dtype=float), ties="efron").fit()
    assert placebo.estimate == pytest.approx(theirs.params[0], abs=1e-9)
    assert placebo.standard_error == pytest.approx(theirs.bse[0], abs=1e-9)
    wald = (placebo.wald_lower, placebo.wald_upper)
    assert wald == pytest.approx(tuple(theirs.conf_int()[0]), abs=1e-9)
    for limit in (placebo.profile_lower, placebo.profile_upper):
        assert theirs.llf - theirs.model.loglike([limit]) == pytest.approx(DROP, abs=1e-9)
    assert placebo.profile_lower < placebo.estimate < placebo.profile_upper
    assert placebo.p_value == pytest.approx(5.26e-5, rel=2e-3)  # chi2 of 16.35


def test_the_score_test_is_the_log_rank_test():
    """Without ties, gradient^2 / information at 0 is the log-rank chi2."""
    times, observed = np.array([1.0, 4, 6, 7, 2, 5, 8, 9]), np.array([1, 1, 0, 1, 1, 1, 0, 1]) == 1
    X = np.repeat([0.0, 1.0], 4)[:, None]
    _, gradient, information = partial_likelihood(
        risk_sets(times, observed, X, np.zeros(8, int)), np.zeros(1)
    )
    sides = [(times[:4], observed[:4]), (times[4:], observed[4:])]
    groups = [CensoredData(uncensored=t[seen], right=t[~seen]) for t, seen in sides]
    chi2 = logrank(*groups).statistic ** 2
    assert gradient[0] ** 2 / information[0, 0] == pytest.approx(chi2, abs=1e-12)


def simulate(name, n, b, covariates):
    """Exponential times with hazard exp(x b), censored at 1.5; rounded up to have ties."""
    draws = rng.numpy_stream(name, "init")
    X = draws.normal(size=(n, covariates))
    times = draws.exponential(size=n) / np.exp(X @ b)
    return np.ceil(20 * np.minimum(times, 1.5)), times < 1.5, X


def test_two_covariates_and_strata_agree_with_statsmodels():
    times, observed, X = simulate(1, 40, [0.7, -0.4], 2)
    X = X * [1e-4, 30.0] + [5.0, 100.0]  # units and origins must not matter
    strata = np.array(["a", "b"] * 20)
    fit = cox(times, observed, X, ["p", "q"], strata.tolist())
    model = PHReg(times, (X - X.mean(0)) / X.std(0), observed * 1.0, strata=strata, ties="efron")
    theirs = model.fit()
    assert [c.name for c in fit.covariates] == ["p", "q"]
    assert fit.log_likelihood == pytest.approx(theirs.llf, abs=1e-9)
    for place, found in enumerate(fit.covariates):
        scale = X.std(0)[place]
        assert found.estimate * scale == pytest.approx(theirs.params[place], abs=1e-9)
        assert found.standard_error * scale == pytest.approx(theirs.bse[place], abs=1e-9)
        for limit in (found.profile_lower, found.profile_upper):
            fixed = limit * scale
            other = minimize_scalar(
                lambda free, place=place, fixed=fixed: (
                    -model.loglike(np.insert([free], place, fixed))
                ),
                bounds=(-5, 5),
                options={"xatol": 1e-8},
            )
            assert theirs.llf + other.fun == pytest.approx(DROP, abs=1e-8)
    assert cox(times, observed, X, ["p", "q"]).log_likelihood < fit.log_likelihood


def test_separated_runs_have_an_infinite_estimate_and_a_finite_lower_limit():
    (found,) = cox(*SEPARATED, ["rate"]).covariates
    assert (found.estimate, found.hazard_ratio, found.profile_upper) == (math.inf,) * 3
    assert found.separated
    assert np.isnan([found.standard_error, found.wald_lower, found.wald_upper]).all()
    # With r = exp(b): r/(3r + 3) * r/(2r + 3) * r/(r + 3) * 1/3 * 1/2 * 1; 1/36 at infinity.
    r = math.exp(found.profile_lower)
    value = sum(math.log(r / (j * r + 3)) for j in (3, 2, 1)) - math.log(6)
    assert value == pytest.approx(-2 * math.log(6) - DROP, abs=1e-9)
    assert 0 < found.profile_lower < found.firth < math.inf
    assert found.note == "the runs are separated: no standard error and no upper limit"


def test_separation_the_other_way_mirrors_it():
    times, observed, X = SEPARATED
    (up,) = cox(times, observed, X, ["rate"]).covariates
    (down,) = cox(times, observed, -np.array(X), ["rate"]).covariates
    assert (down.estimate, down.hazard_ratio, down.profile_lower) == (-math.inf, 0, -math.inf)
    assert down.profile_upper == pytest.approx(-up.profile_lower)
    assert down.p_value == pytest.approx(up.p_value)
    assert down.firth == pytest.approx(-up.firth)


def test_separated_rates_where_the_slower_runs_are_censored():
    (found,) = cox([5, 7, 9, 60, 60, 60], [1, 1, 1, 0, 0, 0], SEPARATED[2], ["rate"]).covariates
    assert (found.estimate, found.separated) == (math.inf, True)
    assert 0 < found.profile_lower < math.inf
    assert found.p_value < 0.05


def test_a_single_exception_ends_the_separation():
    (found,) = cox([3, 4, 8.5, 8, 9, 10], [True] * 6, SEPARATED[2], ["rate"]).covariates
    assert not found.separated
    assert math.isfinite(found.estimate)
    assert math.isfinite(found.profile_upper)


def test_firths_estimate_by_hand():
    """Two runs: L = p, I = p (1 - p), so p^(3/2) (1 - p)^(1/2) is largest at p = 3/4."""
    (found,) = cox([1, 2], [True, True], [[1.0], [0.0]], ["rate"]).covariates
    assert found.separated
    assert found.firth == pytest.approx(math.log(3), abs=1e-8)


def test_firths_estimate_is_the_penalised_maximum_in_two_dimensions():
    times, observed, X = simulate(3, 12, [1.0, 0.0], 2)
    sets = risk_sets(times, observed, X, np.zeros(12, int))
    best = minimize(
        lambda b: -firth_likelihood(sets, b)[0], [0, 0], method="Nelder-Mead", tol=1e-10
    )
    found = [covariate.firth for covariate in cox(times, observed, X, ["p", "q"]).covariates]
    assert found == pytest.approx(best.x.tolist(), abs=1e-6)


@given(problems())
@settings(deadline=None)
def test_separation_is_found_exactly_where_no_pair_objects(problem):
    """The covariates are small integers, so a grid of directions holds every cone."""
    sets = risk_sets(*problem)
    rows = differences(sets)
    k = rows.shape[1]
    assume(np.linalg.matrix_rank(rows) == k)
    sides = [np.array(v) for v in product(range(-4, 5), repeat=k) if any(v)]
    good = [v for v in sides if (rows @ v >= 0).all()]
    down, up = reach(rows)
    for place in range(k):
        assert (up[place] > 0) == any(v[place] > 0 for v in good)
        assert (down[place] < 0) == any(v[place] < 0 for v in good)
    for v in good:  # and the likelihood really rises along it
        values = [partial_likelihood(sets, t * v)[0] for t in (0.0, 1.0, 2.0)]
        assert values[0] < values[1] < values[2] + 1e-12


FLAT_FAR_OUT = (  # the profile of q starts where the likelihood is a plane
    np.array([0.0, 1, 1, 0, 0]),
    np.array([False, False, True, True, False]),
    np.array([[0.0, 0], [-1, 0], [1, -1], [0, -1], [0, 0]]),
    np.ones(5, int),
)


@given(problems())
@example(FLAT_FAR_OUT)
@settings(deadline=None, max_examples=60)
def test_every_fit_is_finite_or_says_why(problem):
    names = ["p", "q"][: problem[2].shape[1]]
    fit = cox(problem[0], problem[1], problem[2], names, problem[3])
    for found in fit.covariates:
        if math.isnan(found.estimate):
            assert found.note
            continue
        assert found.profile_lower < found.estimate or found.estimate == -math.inf
        assert found.estimate < found.profile_upper or found.estimate == math.inf
        assert math.isinf(found.estimate) == found.separated
        assert math.isfinite(found.firth)
        assert 0 <= found.p_value <= 1
        inside = found.profile_lower <= 0 <= found.profile_upper
        assert inside == (found.p_value >= 0.05) or found.p_value == pytest.approx(0.05, abs=1e-6)
        if not found.note:
            assert found.wald_lower < found.estimate < found.wald_upper
    firth = np.array([found.firth for found in fit.covariates])
    if np.isfinite(firth).all():
        assert firth_likelihood(risk_sets(*problem), firth)[1] == pytest.approx(0 * firth, abs=1e-8)


def test_a_covariate_beside_a_separated_one_keeps_its_profile():
    """Stratum by stratum the limit is a fit of what the separation leaves undecided."""
    times, observed = [1, 2, 3, 4, 11, 12, 13, 14], [True] * 8
    fast, other = [1.0] * 4 + [0.0] * 4, [0, 1, 1, 0, 0, 1, 0, 1]
    fit = cox(times, observed, np.column_stack([fast, other]), ["fast", "other"])
    split = cox(times, observed, np.array(other, float)[:, None], ["other"], strata=fast)
    beside, alone = fit.covariates[1], split.covariates[0]
    assert fit.covariates[0].estimate == math.inf
    assert (beside.separated, math.isnan(beside.standard_error)) == (False, True)
    assert beside.note == "another covariate separates the runs: no standard error"
    for field in ("estimate", "profile_lower", "profile_upper", "p_value"):
        assert getattr(beside, field) == pytest.approx(getattr(alone, field), abs=1e-5)


def test_the_profile_interval_covers_the_truth():
    """300 experiments with 12 runs, log hazard ratio 1: binomial error 1.3 %."""
    inside = 0
    for name in range(300):
        times, observed, X = simulate(1000 + name, 12, [1.0], 1)
        (found,) = cox(times, observed, X, ["x"]).covariates
        inside += found.profile_lower <= 1.0 <= found.profile_upper
    assert 0.91 <= inside / 300 <= 0.98


def nans(found):
    numbers = (found.estimate, found.hazard_ratio, found.standard_error, found.p_value)
    limits = (found.wald_lower, found.wald_upper, found.profile_lower, found.profile_upper)
    return np.isnan([*numbers, *limits, found.firth]).all()


def test_a_covariate_that_does_not_vary_is_undefined_and_the_rest_is_fitted():
    times, observed, X = both_groups()
    constant = np.full(len(X), 0.1)
    fit = cox(times, observed, np.column_stack([constant, X]), ["same", "placebo"])
    assert nans(fit.covariates[0])
    assert "does not vary" in fit.covariates[0].note
    assert fit.covariates[1] == cox(times, observed, X, ["placebo"]).covariates[0]
    assert fit.note == ""
    within = cox(times, observed, X, ["placebo"], strata=X[:, 0])
    assert nans(within.covariates[0])
    assert "does not vary" in within.note


@pytest.mark.parametrize(
    ("times", "observed", "X", "note"),
    [
        ([3, 4, 5], [0, 0, 0], [[1], [2], [3]], "no run collapsed"),
        (
            [3, 4, 5],
            [1, 0, 0],
            [[1, 5], [2, 4], [4, 4]],
            "1 collapses are too few for 2 covariates",
        ),
        ([3, 4, 5, 6], [1] * 4, [[1, 2], [5, 10], [2, 4], [3, 6]], "the covariates are collinear"),
        ([3], [1], [[2]], "the covariate does not vary"),
    ],
)
def test_what_cannot_be_fitted_is_nan_and_says_why(times, observed, X, note):
    fit = cox(times, observed, X, ["p", "q"][: len(X[0])])
    assert all(nans(covariate) for covariate in fit.covariates)
    assert math.isnan(fit.log_likelihood)
    assert fit.note.startswith(note)
    assert [covariate.note for covariate in fit.covariates] == [fit.note] * len(X[0])


@pytest.mark.parametrize(
    ("X", "names", "options"),
    [
        ([[1], [2], [3]], ["p", "q"], {}),
        ([[1], [2]], ["p"], {}),
        ([[1], [math.nan], [3]], ["p"], {}),
        ([[], [], []], [], {}),
        ([[1], [2], [3]], ["p"], {"strata": ["a", "b"]}),
        ([[1], [2], [3]], ["p"], {"confidence": 95}),
    ],
)
def test_wrong_data_are_refused(X, names, options):
    with pytest.raises(UserError):
        cox([1, 2, 3], [1, 1, 1], X, names, **options)


def test_a_fit_needs_no_statsmodels(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    assert cox(*SEPARATED, ["rate"]).covariates[0].separated
    assert math.isfinite(cox(*both_groups(), ["placebo"]).covariates[0].standard_error)
