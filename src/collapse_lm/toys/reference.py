"""What a toy's name means: its distribution, and a text that has it. No torch.

    toy:unigram[:TYPES[@ZIPF]]   words 0 to TYPES - 1; word w has probability ~ (w + 1)^-ZIPF
    toy:gaussian[:BINS]          the standard normal on bins of equal width, in [-8, 8]

As a corpus, a name is a text of that distribution: its words are the quantiles of 1,024
equal shares, in an order that jumps about, so that the counts are as near as whole numbers
get. Draws no random numbers.

Shapes: V types (words, or bins).
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collapse_lm.errors import UserError

PREFIX = "toy:"
REACH = 8.0  # of the Gaussian's bins, in its first standard deviations
TOKENS = 1024  # of a corpus
_STEP = 633  # quantiles from one word to the next: coprime with TOKENS, at its golden section
_MOST_TYPES = 65_536
_FORM = re.compile(r"toy:(unigram|gaussian)(?::(\d{1,6})(?:@(\d{1,2}(?:\.\d{1,4})?))?)?")
_TYPES = {"unigram": 64, "gaussian": 4096}


@dataclass(frozen=True)
class Toy:
    """A toy model.

    Attributes:
        family: unigram or gaussian.
        types: words, or bins.
        zipf: exponent of the first distribution of a unigram; 0 is uniform.
    """

    family: Literal["unigram", "gaussian"]
    types: int
    zipf: float = 1.0


def is_toy(reference: str) -> bool:
    """True for the name of a toy, or what is meant as one."""
    return reference.startswith(PREFIX)


def parse(reference: str) -> Toy:
    """Read a toy's name.

    Raises:
        UserError: for a name of another form, or too few or too many types.
    """
    found = _FORM.fullmatch(reference)
    family = found[1] if found else ""
    types = int(found[2] or _TYPES[family]) if found else 0
    is_known = bool(found) and 2 <= types <= _MOST_TYPES
    if not found or not is_known or (family == "gaussian" and found[3]):
        raise UserError.single(
            "toy",
            reference,
            f"toy:unigram:TYPES@ZIPF or toy:gaussian:BINS, 2 to {_MOST_TYPES:,} types or bins",
            "toy:unigram, toy:unigram:64@0 (uniform), toy:gaussian",
        )
    if family == "gaussian":
        return Toy("gaussian", types)
    return Toy("unigram", types, float(found[3] or 1))


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
