"""Interpolated modified Kneser-Ney (Chen and Goodman 1999) over token ids. Pure.

    p_n(w | h) = max(a(h w) - D(a(h w)), 0) / a(h .) + gamma(h) p_(n-1)(w | h')

a are occurrences at the highest order, and below it the number of different tokens that stand
before (occurrences again where an n-gram begins a text: Heafield et al. 2013). There are three
discounts an order, for counts of 1, 2 and more, in closed form from how many n-grams have counts
of 1 to 4. gamma(h) is what they took, so that all sums to 1. Below order 1 each of V tokens has
1 / V. A context that was never seen says nothing: p_n is p_(n-1).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collapse_lm.ngrams.counts import Counts, Ints, Texts

Numbers = NDArray[np.float64]
Discounts = tuple[float, float, float]
FALLBACK: Discounts = (0.5, 1.0, 1.5)  # where the closed form has none (lmplz takes these too)


def discounts_of(counts: Ints) -> Discounts:
    """The discounts of an order (Chen and Goodman 1999, equation 17).

    Args:
        counts: a of each of its n-grams; zeros do not count.

    Returns:
        Of counts of 1, 2 and from 3 on. FALLBACK where no n-gram has one of these counts, or one
        of the discounts is not above 0: then some context would leave nothing to the unseen.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    return found if min(found) > 0 else FALLBACK


@dataclass(frozen=True)
class _Smoothed:
    """One order: what is left of each n-gram's count, and of each context what is passed on."""

    left: Numbers
    total: Numbers
    passed_on: Numbers


class KneserNey:
    """An n-gram model.

    Args:
        counts: of its order at least.
        order: the longest n-gram.
        discounts: by order, in place of those that the counts have.
    """

    def __init__(
        self, counts: Counts, order: int, discounts: Mapping[int, Discounts] | None = None
    ) -> None:
        if not 1 <= order <= len(counts.levels):
            raise ValueError(f"an order of 1 to {len(counts.levels)}, not {order}")
        self._counts = counts
        adjusted = [level.distinct for level in counts.levels[: order - 1]]
        adjusted.append(counts.levels[order - 1].raw)
        given = discounts or {}
        self.discounts = {
            n: given.get(n) or discounts_of(values) for n, values in enumerate(adjusted, 1)
        }
        self._orders = [
            _smoothed(counts, n, values, self.discounts[n]) for n, values in enumerate(adjusted, 1)
        ]

    @classmethod
    def of(cls, texts: Texts, order: int) -> "KneserNey":
        """Train a model on texts."""
        return cls(Counts.of(texts, order), order)

    def log_probs(self, texts: Texts) -> Numbers:
        """Return log p (nats) of each token of texts given those before it in its text (N,)."""
        if texts.vocabulary != self._counts.vocabulary:
            raise ValueError("texts of another vocabulary")
        p = np.full(len(texts.tokens), 1 / texts.vocabulary)
        context, place = np.zeros_like(texts.tokens), texts.tokens
        for n, smoothed in enumerate(self._orders, 1):
            if n > 1:
                context, place = self._counts.places(texts, n, place)
            said = np.flatnonzero((context >= 0) & (smoothed.total[context] > 0))
            at, here = context[said], place[said]
            seen = np.where(here >= 0, smoothed.left[here], 0) / smoothed.total[at]
            p[said] = seen + smoothed.passed_on[at] * p[said]
        found: Numbers = np.log(p[texts.depth > 0])
        return found


def _smoothed(counts: Counts, order: int, adjusted: Ints, discounts: Discounts) -> _Smoothed:
    keys = counts.levels[order - 1].keys
    context = keys // counts.width if order > 1 else np.zeros_like(keys)
    contexts = len(counts.levels[order - 2].keys) if order > 1 else 1
    cut = np.array([0.0, *discounts])[np.minimum(adjusted, 3)]
    # One more of each, with nothing in it, for what was not seen: index -1.
    total = np.bincount(context, adjusted, minlength=contexts + 1)
    taken = np.bincount(context, cut, minlength=contexts + 1)
    passed_on = taken / np.maximum(total, 1.0)
    return _Smoothed(np.append(adjusted - cut, 0.0), total.astype(np.float64), passed_on)
