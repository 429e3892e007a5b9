"""Count the n-grams of texts as sorted arrays: each an index of its context, then a token.

A text begins with a mark that is no token, so an n-gram never spans two texts, and one at the
beginning of a text is told from one that follows something. Pure; knows nothing of smoothing.

Shapes: T positions (tokens and marks), K different n-grams of one order, V tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Texts:
    """Texts one after another, each behind a mark.

    Attributes:
        tokens: ids (T,); the mark is the number of the vocabulary's tokens.
        depth: place of each in its text (T,); 0 is the mark.
        vocabulary: number of tokens.
    """

    tokens: Ints
    depth: Ints
    vocabulary: int

    @classmethod
    def of(cls, texts: Iterable[Sequence[int] | Ints], vocabulary: int) -> "Texts":
        """Join texts.

        Raises:
            ValueError: for an id that is none of the vocabulary's.
        """
        parts = [np.asarray(text, dtype=np.int64) for text in texts]
        mark = np.array([vocabulary])
        tokens = np.concatenate([mark[:0], *(x for part in parts for x in (mark, part))])
        if len(tokens) and not (tokens.min() >= 0 and all((p < vocabulary).all() for p in parts)):
            raise ValueError(f"token ids lie in 0 to {vocabulary - 1}")
        depth = np.concatenate([mark[:0], *(np.arange(len(part) + 1) for part in parts)])
        return cls(tokens, depth, vocabulary)

    @property
    def count(self) -> int:
        """Tokens, marks not counted."""
        return int((self.depth > 0).sum())


@dataclass(frozen=True)
class Level:
    """The different n-grams of one order, in the order of their keys.

    Attributes:
        keys: (K,) sorted; the index of the first n - 1 tokens in the level above, times V + 1,
            plus the last token. Of order 1 they are the tokens themselves, mark included.
        raw: occurrences (K,).
        distinct: different tokens that stand before it (K,); of an n-gram that begins a text,
            which has none before it, the occurrences (Heafield et al. 2013, section 3). Unknown
            of the highest order, where it is equal to `raw`.
    """

    keys: Ints
    raw: Ints
    distinct: Ints


@dataclass(frozen=True)
class Counts:
    """The n-grams of all orders up to the highest.

    Attributes:
        levels: of order 1, 2, ...
        vocabulary: number of tokens.
    """

    levels: tuple[Level, ...]
    vocabulary: int

    @property
    def width(self) -> int:
        """Ids that may stand in an n-gram: the tokens and the mark."""
        return self.vocabulary + 1

    @classmethod
    def of(cls, texts: Texts, order: int) -> "Counts":
        """Count the n-grams of all orders up to one."""
        width = texts.vocabulary + 1
        raw = np.bincount(texts.tokens, minlength=width)
        raw[texts.vocabulary] = 0  # the mark is never predicted
        levels = [Level(np.arange(width), raw, raw)]
        places = texts.tokens
        for n in range(2, order + 1):
            ends = np.flatnonzero(texts.depth >= n - 1)
            keys, first, inverse, raw = np.unique(
                places[ends - 1] * width + texts.tokens[ends],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            levels[-1] = _with_distinct(levels[-1], places[ends[first]], texts, places, n - 1)
            levels.append(Level(keys, raw, raw))
            places = _scattered(inverse, ends, len(texts.tokens))
        return cls(tuple(levels), texts.vocabulary)

    def places(self, texts: Texts, order: int, above: Ints) -> tuple[Ints, Ints]:
        """Look the n-grams of an order up that end at each position.

        Args:
            texts: to look up.
            order: 2 or more.
            above: (T,) the same for the order below by one (the tokens themselves for 1).

        Returns:
            The index of the context, and of the n-gram (T,); -1 where it was not counted.
        """
        keys = self.levels[order - 1].keys
        context = np.full(len(texts.tokens), -1)
        ends = np.flatnonzero(texts.depth >= order - 1)
        context[ends] = above[ends - 1]
        place = np.full(len(texts.tokens), -1)
        ends = np.flatnonzero(context >= 0)
        wanted = context[ends] * self.width + texts.tokens[ends]
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        place[ends] = np.where(keys[found] == wanted, found, -1) if len(keys) else -1
        return context, place


def _with_distinct(level: Level, suffixes: Ints, texts: Texts, places: Ints, order: int) -> Level:
    """Tell of each n-gram how many of the next order end in it."""
    distinct = np.bincount(suffixes, minlength=len(level.keys))
    begins = np.zeros(len(level.keys), dtype=bool)
    begins[places[texts.depth == order - 1]] = True
    return Level(level.keys, level.raw, np.where(begins, level.raw, distinct))


def _scattered(values: Ints, at: Ints, length: int) -> Ints:
    found = np.full(length, -1)
    found[at] = values
    return found
