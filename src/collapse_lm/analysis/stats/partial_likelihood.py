"""Cox's partial likelihood with Efron's ties, plain and penalised, and its maximum.

Pure arrays: knows nothing of runs or of names. Shapes: n runs,
k covariates, e events; X (n, k), b (k,).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from collapse_lm.analysis.stats.survival import Flags, Floats

Point = tuple[float, Floats, Floats]
Objective = Callable[[Floats], Point]
_Taken = tuple[Floats, Point]


@dataclass(frozen=True, eq=False)
class RiskSets:
    """Who might have collapsed at each event.

    Attributes:
        X: covariates, shape (n, k).
        event: the run of each event, shape (e,).
        log_weight: shape (e, n); row r holds the log of the weight of each run in the
            denominator of event r: 0 at risk, -inf not at risk, and log(1 - l/d) for
            the d runs of a tie in the l-th of its d rows (Efron 1977).
    """

    X: Floats
    event: NDArray[np.intp]
    log_weight: Floats


def risk_sets(times: Floats, observed: Flags, X: Floats, strata: NDArray[np.intp]) -> RiskSets:
    """Set up the risk sets; runs of different strata are never compared."""
    rows: list[Floats] = []
    events: list[int] = []
    for stratum, time in sorted(set(zip(strata[observed], times[observed], strict=True))):
        at_risk = (strata == stratum) & (times >= time)
        tied = (strata == stratum) & (times == time) & observed
        for place, event in enumerate(np.flatnonzero(tied).tolist()):
            rows.append(at_risk - tied * (place / tied.sum()))
            events.append(event)
    weight = np.array(rows).reshape(-1, len(times))
    log_weight = np.log(weight, out=np.full(weight.shape, -np.inf), where=weight > 0)
    return RiskSets(X, np.array(events, dtype=np.intp), log_weight)


def partial_likelihood(sets: RiskSets, b: Floats) -> Point:
    """Return (log-likelihood, gradient (k,), information (k, k)) at b."""
    value, gradient, information, _, _ = _moments(sets, b)
    return value, gradient, information


def firth_likelihood(sets: RiskSets, b: Floats) -> Point:
    """Return the same with Firth's penalty, half the log-determinant of the information.

    The gradient is exact; the information is that of the plain likelihood, so a
    Newton step is one of scoring (Heinze and Schemper 2001, eq. 3).
    """
    value, gradient, information, P, centred = _moments(sets, b)
    sign, log_determinant = np.linalg.slogdet(information)
    if sign <= 0:
        return -np.inf, gradient, information
    # The derivative of a covariance along b is the third central moment.
    leverage = np.einsum("rna,ab,rnb->rn", centred, np.linalg.inv(information), centred)
    penalty = np.einsum("rn,rn,rnk->k", P, leverage, centred)
    return value + log_determinant / 2, gradient + penalty / 2, information


def _moments(sets: RiskSets, b: Floats) -> tuple[float, Floats, Floats, Floats, Floats]:
    """Return the plain likelihood's point, P (e, n) and X centred per event (e, n, k)."""
    eta = sets.X @ b + sets.log_weight
    top = eta.max(axis=1, keepdims=True)
    P = np.exp(eta - top)
    denominators = P.sum(axis=1, keepdims=True)
    P /= denominators
    mean = P @ sets.X
    centred = sets.X - mean[:, None, :]
    value = (sets.X[sets.event] @ b - top[:, 0] - np.log(denominators[:, 0])).sum()
    information = np.einsum("rn,rna,rnb->ab", P, centred, centred)
    gradient = (sets.X[sets.event] - mean).sum(axis=0)
    return float(value), gradient, information, P, centred


def maximise(
    objective: Objective, start: Floats, free: Flags, tolerance: float = 1e-12
) -> tuple[Floats, float]:
    """Climb by Newton's method over the free coordinates; return (b, value there).

    Where the likelihood rises for ever, it stops within about `tolerance` of the
    supremum, some 30 steps out.
    """
    b = start.copy()
    value, gradient, information = objective(b)
    for _ in range(200):
        step = np.zeros_like(b)
        step[free] = _newton(information[np.ix_(free, free)], gradient[free])
        gain = float(gradient @ step)
        there, point = _halve(objective, b, step, value, gain)
        done = gain < tolerance or there is b
        b, (value, gradient, information) = there, point
        if done:
            break
    return b, value


def _newton(information: Floats, gradient: Floats) -> Floats:
    """Return Newton's step, cut to 8 along each principal direction.

    Far out the likelihood is a plane: its slope is real, its curvature only rounding.
    """
    curvature, directions = np.linalg.eigh(information)
    along = (gradient @ directions) / np.maximum(curvature, 1e-30)
    step: Floats = directions @ np.clip(along, -8, 8)
    return step


def _halve(objective: Objective, b: Floats, step: Floats, value: float, gain: float) -> _Taken:
    """Take the step, or as small a part of it as gains in proportion; else stay."""
    for part in 0.5 ** np.arange(40):
        there = b + part * step
        point = objective(there)
        # A step of scoring can be too long by half and land on the other side as high.
        if point[0] >= value + 0.1 * part * gain - 1e-14 * (1 + abs(value)):
            return there, point
    return b, objective(b)


def differences(sets: RiskSets) -> Floats:
    """Return the distinct rows x(event) - x(other at risk), shape (rows, k).

    They are all that the likelihood sees of the covariates.
    """
    risks = np.isfinite(sets.log_weight)
    rows = [sets.X[run] - sets.X[risk] for run, risk in zip(sets.event, risks, strict=True)]
    return np.unique(np.concatenate([sets.X[:0], *rows]), axis=0)


def reach(rows: Floats) -> tuple[Floats, Floats]:
    """Return how far each coefficient can go down and up without any loss, (k,) and (k,).

    A direction v with v.x(event) >= v.x(other) for every pair at risk never lowers
    the likelihood; if some pair is strict it raises it for ever, and the estimate
    is infinite (Bryson and Johnson 1981). The limits are within the box [-1, 1]^k,
    found by linear programming, and 0 where the estimate is finite.
    """
    k = rows.shape[1]
    ends = np.zeros((2, k))
    for (side, sign), place in [(s, c) for s in enumerate((-1, 1)) for c in range(k)]:
        goal = -sign * np.eye(k)[place]
        found = linprog(goal, A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=(-1, 1))
        # HiGHS is exact to 1e-7; covariates are in standard deviations.
        ends[side, place] = found.x[place] if abs(found.x[place]) > 1e-4 else 0
    return ends[0], ends[1]
