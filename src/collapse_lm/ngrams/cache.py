"""A cache of the newest tokens as a model of the next: unigrams and bigrams. Pure.

Kuhn and De Mori 1990; Jelinek, Merialdo, Roukos and Strauss 1991, whose cache had trigrams too.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def cache_log_probs(ids: Sequence[int], size: int) -> Numbers:
    """Predict each token of a text from the tokens just before it.

    unigram: the share of the cached tokens that are this one. bigram: of those that stand behind
    the token before, as far as both are cached; where that token is not, the unigram.

    Args:
        ids: of the text (N,).
        size: tokens that the cache holds.

    Returns:
        log p (nats) of each token under both, (2, N). Minus infinity for a token that is not
        cached; not a number for the first, as the cache is empty.
    """
    tokens, pairs, begun = Counter[int](), Counter[tuple[int, int]](), Counter[int]()
    found = np.full((2, len(ids)), np.nan)
    for place, token in enumerate(ids):
        if place:
            last = ids[place - 1]
            unigram = tokens[token] / min(place, size)
            bigram = pairs[last, token] / begun[last] if begun[last] else unigram
            found[:, place] = unigram, bigram
        tokens[token] += 1
        if place and size > 1:
            pairs[ids[place - 1], token] += 1
            begun[ids[place - 1]] += 1
        if place >= size:
            tokens[ids[place - size]] -= 1
        if place >= size > 1:
            pairs[ids[place - size], ids[place - size + 1]] -= 1
            begun[ids[place - size]] -= 1
    with np.errstate(divide="ignore"):
        log_probs: Numbers = np.log(found)
    return log_probs
