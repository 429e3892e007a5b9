"""Linear interpolation of models, and the weights that make a text likeliest. Pure.

Shapes: M models, N tokens.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_STEPS = 10_000
_GAIN = 1e-10  # nats per token and step at which the search ends


def mixed(log_probs: Numbers, weights: Numbers) -> Numbers:
    """Return log sum_m w_m p_m (N,) in nats; with all weight on one model, that model's own.

    Args:
        log_probs: (M, N), nats; minus infinity is a probability of zero.
        weights: (M,), of sum 1.
    """
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    total: Numbers = np.logaddexp.reduce(log_probs + log_weights[:, None], axis=0)
    return total


def tuned(log_probs: Numbers) -> Numbers:
    """Return the weights (M,) of greatest likelihood, by expectation maximization.

    The likelihood is concave in the weights, so the search ends near its one maximum (Jelinek
    and Mercer 1980, with one weight for all contexts).

    Args:
        log_probs: (M, N), nats, of a text that is not the one to be scored.
    """
    models, tokens = log_probs.shape
    weights = np.full(models, 1 / models)
    if not tokens:
        return weights
    relative = np.exp(log_probs - log_probs.max(axis=0))
    before = -np.inf
    for _ in range(_STEPS):
        parts = weights[:, None] * relative
        total = parts.sum(axis=0)
        likelihood = float(np.log(total).mean())
        if likelihood - before < _GAIN:
            break
        before = likelihood
        weights = (parts / total).mean(axis=1)
    sure: Numbers = weights / weights.sum()
    return sure
