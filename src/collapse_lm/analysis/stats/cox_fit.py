"""The maximum of a Cox likelihood, and the profile around it, in standard deviations.

Knows nothing of names, of the caller's units, or of how undefined results are told.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, root

from collapse_lm.analysis.stats.partial_likelihood import (
    Objective,
    RiskSets,
    differences,
    firth_likelihood,
    maximise,
    partial_likelihood,
    reach,
    risk_sets,
)
from collapse_lm.analysis.stats.survival import Flags, Floats

_FAR = 1e6  # a limit so far out, per standard deviation of the covariate, is none


@dataclass(frozen=True, eq=False)
class Data:
    """Checked input. X (runs, k) is centred and in standard deviations, `unit` (k,)."""

    times: Floats
    observed: Flags
    X: Floats
    unit: Floats
    strata: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Fit:
    """The maximum over the covariates that vary; vectors (k,), per standard deviation.

    `down` and `up` say how far each coefficient can go without any loss (`reach`).
    """

    likelihood: Objective
    b: Floats
    value: float
    error: Floats
    firth: Floats
    down: Floats
    up: Floats


def sets_of(data: Data) -> RiskSets:
    """Return the risk sets of the data."""
    return risk_sets(data.times, data.observed, data.X, data.strata)


def fit(data: Data) -> Fit:
    """Fit data with at least one event and covariates that are not collinear."""
    sets, k = sets_of(data), data.X.shape[1]
    likelihood, free = partial(partial_likelihood, sets), np.ones(k, dtype=np.bool_)
    down, up = reach(differences(sets))
    b, value = maximise(likelihood, np.zeros(k), free)
    firth = _firth_fit(partial(firth_likelihood, sets), k)
    error = np.full(k, math.nan)
    if not (down.any() or up.any()):
        error = np.sqrt(np.diag(np.linalg.inv(likelihood(b)[2])))
    return Fit(likelihood, b, value, error, firth, down, up)


def _firth_fit(penalised: Objective, k: int) -> Floats:
    """Return Firth's estimates, shape (k,): scoring comes near, a root of the gradient ends it."""
    near, _ = maximise(penalised, np.zeros(k), np.ones(k, dtype=np.bool_), tolerance=1e-8)
    ended: Floats = root(lambda b: penalised(b)[1], near, tol=1e-12).x
    return ended


def profile(fit: Fit, place: int, fixed: float) -> float:
    """Return the largest log-likelihood with one coefficient fixed."""
    free = np.arange(len(fit.b)) != place
    start = np.where(free, fit.b, fixed)
    return maximise(fit.likelihood, start, free)[1]


def profile_limits(fit: Fit, place: int, drop: float) -> tuple[float, float]:
    """Return where the profile has lost `drop`; infinite where it never does."""

    def left(value: float) -> float:
        return profile(fit, place, value) - fit.value + drop

    def limit(sign: int) -> float:
        inside, step = float(fit.b[place]), 1.0
        while left(inside + sign * step) > 0:
            step *= 2
            if step > _FAR:
                return sign * math.inf
        return float(brentq(left, inside, inside + sign * step, xtol=1e-10))

    low = -math.inf if fit.down[place] < 0 else limit(-1)
    high = math.inf if fit.up[place] > 0 else limit(1)
    return low, high
