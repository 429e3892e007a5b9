"""The distribution that a toy's name means, and a text that has it. No torch.

As a corpus, a name is a text of that distribution: its words are the quantiles of 1,024
equal shares, in an order that jumps about, so that the counts are as near as whole numbers
get. Draws no random numbers.

Shapes: V types (words, or bins).
"""

import math

import numpy as np
from numpy.typing import NDArray

from collapse_lm.toys.names import Toy, parse

REACH = 8.0  # of the Gaussian's bins, in its first standard deviations
TOKENS = 1024  # of a corpus
_STEP = 633  # quantiles from one word to the next: coprime with TOKENS, at its golden section


def probabilities(toy: Toy) -> NDArray[np.float64]:
    """The first distribution of a toy, (V,)."""
    if toy.family == "unigram":
        log_p_V = -toy.zipf * np.log(np.arange(1, toy.types + 1))
    else:
        log_p_V = -0.5 * np.linspace(-REACH, REACH, toy.types) ** 2
    weights_V = np.exp(log_p_V - log_p_V.max())
    return np.asarray(weights_V / weights_V.sum())


def text_of(reference: str) -> str:
    """A text of 1,024 words that has the first distribution of a toy.

    Raises:
        UserError: as `parse`.
    """
    cdf_V = np.cumsum(probabilities(parse(reference)))
    quantiles = ((np.arange(TOKENS) * _STEP) % TOKENS + 0.5) / TOKENS
    words = np.minimum(np.searchsorted(cdf_V, quantiles, side="right"), len(cdf_V) - 1)
    return " ".join(map(str, words.tolist()))


def entropy(probabilities_V: NDArray[np.float64]) -> float:
    """Shannon entropy of a distribution (V,), in nats."""
    return -math.fsum(float(p) * math.log(p) for p in probabilities_V if p > 0)
