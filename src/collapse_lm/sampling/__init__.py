"""Draw samples from a causal language model by inverse CDF."""

from collapse_lm.sampling.inverse_cdf import (
    Filters,
    entropy,
    log_probabilities,
    pick,
    probabilities,
)
from collapse_lm.sampling.prices import prices_of
from collapse_lm.sampling.sampler import Draw, sample
from collapse_lm.sampling.speculation import Drafter

__all__ = [
    "Drafter",
    "Draw",
    "Filters",
    "entropy",
    "log_probabilities",
    "pick",
    "prices_of",
    "probabilities",
    "sample",
]
