"""What must become of a unigram: the formulas that docs/toys.md compares with runs. No torch.

Shapes: V words.
"""

import math

import numpy as np
from numpy.typing import NDArray

from collapse_lm.toys.reference import entropy

Floats = NDArray[np.float64]


def softmax(logits_V: Floats) -> Floats:
    """The distribution (V,) of logits; those of minus infinity have none of it."""
    weights_V = np.exp(logits_V - logits_V.max())
    return np.asarray(weights_V / weights_V.sum())


def drawn_from(logits_V: Floats, temperature: float, top_k: int | None = None) -> Floats:
    """The distribution q (V,) that samples come from: sharpened, and cut to the k largest."""
    kept_V = logits_V / temperature
    if top_k is not None and top_k < len(kept_V):
        kept_V = np.where(kept_V >= np.sort(kept_V)[-top_k], kept_V, -np.inf)
    return softmax(kept_V)


def mean_field_dose(
    first_V: Floats, temperature: float, top_k: int | None, share: float = 0.5, step: float = 0.05
) -> float:
    """Dose at which the entropy of a unigram under `own` and SGD has fallen to a share of it.

    The gradient of the mean loss of a long text is p - q, so d logits / d dose = q - p, where
    dose is the sum of the learning rates. Solved by Euler's steps; noise is left out.

    Args:
        first_V: the first distribution.
        temperature: of the samples; below 1, unless top_k cuts something.
        top_k: of the samples; None cuts nothing.
        share: of the first entropy.
        step: of the dose.
    """
    logits_V, dose, level = np.log(first_V), 0.0, share * entropy(first_V)
    while entropy(softmax(logits_V)) > level:
        logits_V = logits_V + step * (drawn_from(logits_V, temperature, top_k) - softmax(logits_V))
        dose += step
    return dose


def adam_drift(probability: float, tokens: int, betas: tuple[float, float] = (0.9, 0.95)) -> float:
    """Mean step of a word's logit under Adam, per unit of the learning rate, on neutral samples.

    The gradient of a logit, p - count / n, has mean zero and the skewness -gamma of a count.
    To the first order of the delta method E[m / sqrt(v)] is
    gamma (1 - b1)(1 - b2) / (2 (1 - b1 b2)): Adam counts rare large gradients for less, and the
    logit falls.

    Args:
        probability: of the word, which must not change much meanwhile.
        tokens: n, drawn per update.
        betas: b1 and b2 of Adam.
    """
    first, second = betas
    spread = math.sqrt(tokens * probability * (1 - probability))
    gamma = (1 - 2 * probability) / spread
    return -gamma * (1 - first) * (1 - second) / (2 * (1 - first * second))
