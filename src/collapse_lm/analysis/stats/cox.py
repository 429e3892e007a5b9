"""How much faster do runs collapse when a covariate grows? Cox regression.

Around the fit (`cox_fit`; the tests compare it with statsmodels) stand the questions
that a handful of runs per setting makes necessary: can the estimate be finite at
all, and what does the likelihood itself, not its curvature at one point, say about
the interval.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2, norm

from collapse_lm.analysis.stats.cox_fit import Data, Fit, fit, profile, profile_limits, sets_of
from collapse_lm.analysis.stats.partial_likelihood import differences, partial_likelihood
from collapse_lm.analysis.stats.survival import Floats, check_confidence, check_runs
from collapse_lm.errors import UserError

_FLAT = 1e-9  # standard deviations; a covariate that varies less does not vary
_STILL = "the covariate does not vary among the runs at risk at any collapse"


@dataclass(frozen=True)
class Covariate:
    """One covariate of a fit. A number that is undefined is NaN, and `note` says why.

    Attributes:
        name: of the covariate.
        estimate: log hazard ratio per unit of the covariate; inf or -inf where the
            runs are separated.
        hazard_ratio: exp(estimate); above 1 means earlier collapse.
        standard_error: of the estimate, from the curvature of the likelihood.
        wald_lower: limit of estimate -+ z standard errors.
        wald_upper: likewise.
        profile_lower: limit of the values that a likelihood-ratio test does not
            reject; finite or infinite, defined for separated runs too.
        profile_upper: likewise.
        p_value: of the likelihood-ratio test of no effect.
        firth: Firth's penalised estimate, finite for separated runs too.
        separated: True where the likelihood rises for ever along this covariate.
        note: what is undefined and why; empty if all is well.
    """

    name: str
    estimate: float = math.nan
    hazard_ratio: float = math.nan
    standard_error: float = math.nan
    wald_lower: float = math.nan
    wald_upper: float = math.nan
    profile_lower: float = math.nan
    profile_upper: float = math.nan
    p_value: float = math.nan
    firth: float = math.nan
    separated: bool = False
    note: str = ""


@dataclass(frozen=True)
class CoxFit:
    """A Cox regression.

    Attributes:
        covariates: in the order given.
        runs: number of runs.
        collapses: number of events.
        confidence: nominal coverage of each interval.
        log_likelihood: largest partial log-likelihood (its supremum if separated).
        null_log_likelihood: the same without any effect; NaN without events.
        note: why the fit as a whole is undefined; empty if it is defined.
    """

    covariates: tuple[Covariate, ...]
    runs: int
    collapses: int
    confidence: float
    log_likelihood: float
    null_log_likelihood: float
    note: str = ""


def cox(
    times: Sequence[float],
    observed: Sequence[bool],
    covariates: Sequence[Sequence[float]] | Floats,
    names: Sequence[str],
    strata: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> CoxFit:
    """Fit hazard(t) = h_stratum(t) exp(b . x) with Efron's ties (Cox 1972; Efron 1977).

    A covariate that varies over powers of ten, such as a learning rate, belongs here
    as its logarithm. Where a covariate separates the runs (those with more of it
    always collapse first) the estimate is infinite, the profile interval has one
    finite end, and `firth` is a finite point estimate (Heinze and Schemper 2001).

    Args:
        times: update of the collapse or of the end, one per run.
        observed: True for a collapse.
        covariates: shape (runs, k).
        names: of the k covariates.
        strata: label per run; runs are compared within a stratum only.
        confidence: nominal coverage, between 0 and 1.

    Raises:
        UserError: for data of wrong shape or range.
    """
    check_confidence(confidence)
    data = _check(times, observed, covariates, names, strata)
    varies = np.abs(differences(sets_of(data))).max(axis=0, initial=0.0) > _FLAT
    kept = replace(data, X=data.X[:, varies], unit=data.unit[varies])
    note = _undefined(kept)
    found = None if note else fit(kept)
    described = iter(_describe(found, kept.unit, confidence) if found else [])
    null = partial_likelihood(sets_of(kept), np.zeros(varies.sum()))[0]
    return CoxFit(
        covariates=tuple(
            replace(next(described), name=name)
            if found and moves
            else Covariate(name, note=note or _STILL)
            for name, moves in zip(names, varies, strict=True)
        ),
        runs=len(data.times),
        collapses=int(data.observed.sum()),
        confidence=confidence,
        log_likelihood=found.value if found else math.nan,
        null_log_likelihood=null if data.observed.any() else math.nan,
        note=note,
    )


def _check(
    times: Sequence[float],
    observed: Sequence[bool],
    covariates: Sequence[Sequence[float]] | Floats,
    names: Sequence[str],
    strata: Sequence[Hashable] | None,
) -> Data:
    time, flags = check_runs(times, observed)
    X = np.asarray(covariates, dtype=np.float64)
    if X.shape != (len(time), len(names)) or not names:
        expected = f"{len(time)} runs x {len(names)} names, at least one name"
        raise UserError.single("covariates", f"shape {X.shape}", expected)
    if not np.isfinite(X).all():
        raise UserError.single("covariates", X.tolist(), "finite numbers")
    if strata is not None and len(strata) != len(time):
        raise UserError.single(
            "strata", f"{len(strata)} labels", f"one for each of {len(time)} runs"
        )
    numbers: dict[Hashable, int] = {}
    given = [None] * len(time) if strata is None else strata
    labels = [numbers.setdefault(label, len(numbers)) for label in given]
    # Newton's steps and the tolerances of the linear programs need a scale of about 1.
    # The deviation of equal numbers need not round to 0; their range is 0.
    unit = np.where(np.ptp(X, axis=0) > 0, X.std(axis=0), 1.0)
    return Data(time, flags, (X - X.mean(axis=0)) / unit, unit, np.array(labels))


def _undefined(data: Data) -> str:
    """Say why no fit of these covariates is possible; empty if one is."""
    events, k = int(data.observed.sum()), data.X.shape[1]
    if not events:
        return "no run collapsed"
    if not k:
        return _STILL
    if events < k:
        return f"{events} collapses are too few for {k} covariates"
    if np.linalg.matrix_rank(differences(sets_of(data)), tol=1e-7) < k:
        return "the covariates are collinear among the runs at risk"
    return ""


def _describe(found: Fit, unit: Floats, confidence: float) -> list[Covariate]:
    """Describe each covariate that varies in the caller's units, still without its name."""
    described = []
    for place, scale in enumerate(unit):
        infinite, note = _separation(found, place)
        estimate = found.b[place] if infinite is None else infinite
        low, high = profile_limits(found, place, chi2.ppf(confidence, 1) / 2)
        error = found.error[place] / scale
        width = norm.ppf((1 + confidence) / 2) * error
        at_null = profile(found, place, 0.0)
        with np.errstate(over="ignore"):  # inf is right where exp has no number
            ratio = float(np.exp(estimate / scale))
        described.append(
            Covariate(
                name="",
                estimate=float(estimate / scale),
                hazard_ratio=ratio,
                standard_error=float(error),
                wald_lower=float(estimate / scale - width),
                wald_upper=float(estimate / scale + width),
                profile_lower=float(low / scale),
                profile_upper=float(high / scale),
                p_value=float(chi2.sf(max(2 * (found.value - at_null), 0.0), 1)),
                firth=float(found.firth[place] / scale),
                separated=infinite is not None,
                note=note,
            )
        )
    return described


def _separation(found: Fit, place: int) -> tuple[float | None, str]:
    """Return (infinite estimate or None, note)."""
    down, up = found.down[place] < 0, found.up[place] > 0
    if down and up:
        return math.nan, "separated together with other covariates: any value fits equally well"
    if down or up:
        side = "upper" if up else "lower"
        return (
            math.inf if up else -math.inf,
            f"the runs are separated: no standard error and no {side} limit",
        )
    if found.down.any() or found.up.any():
        return None, "another covariate separates the runs: no standard error"
    return None, ""
