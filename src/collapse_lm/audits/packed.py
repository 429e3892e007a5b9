"""Many texts as one array of token ids, so that measures of all of them are few operations.

Numbers per text equal those of `measures.text`, which measures one text at a time: a test
holds them to it. Knows nothing of tokenizers or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

_BITS = 48  # of a hash, where the number of its text stands beside it
MOST_TEXTS = 1 << (64 - _BITS)  # of one pack


@dataclass(frozen=True)
class Pack:
    """Texts one behind the other.

    Attributes:
        ids_N: token ids of all texts.
        bounds: where each text begins, and where the last one ends.
    """

    ids_N: NDArray[np.uint32]
    bounds: Ints

    @classmethod
    def of(cls, texts: Sequence[Sequence[int] | NDArray[np.uint32]]) -> "Pack":
        """Pack the ids of some texts, at most `MOST_TEXTS`."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        bounds = np.concatenate(([0], np.cumsum(lengths)))
        ids = np.fromiter(chain.from_iterable(texts), np.uint32, int(bounds[-1]))
        return cls(ids, bounds)

    @property
    def lengths(self) -> Ints:
        """Tokens of each text."""
        return np.diff(self.bounds)

    @cached_property
    def owners(self) -> NDArray[np.int32]:
        """The number of the text that each token is of."""
        return np.repeat(np.arange(len(self.lengths), dtype=np.int32), self.lengths)

    def is_whole(self, n: int) -> NDArray[np.bool_]:
        """Of each n-gram, whether it stands within one text."""
        count = max(0, len(self.owners) - n + 1)
        same: NDArray[np.bool_] = self.owners[:count] == self.owners[n - 1 : n - 1 + count]
        return same

    def text(self, number: int) -> NDArray[np.uint32]:
        """The ids of one text."""
        return self.ids_N[self.bounds[number] : self.bounds[number + 1]]


def grams(ids_N: NDArray[np.uint32], n: int) -> Keys:
    """A 64-bit hash of the n-gram that begins at each token; empty for a shorter text.

    Equal n-grams have equal hashes, whatever text they stand in.
    """
    count = max(0, len(ids_N) - n + 1)
    keys = np.zeros(count, np.uint64)
    for place in range(n):
        keys = _mixed(keys ^ (ids_N[place : place + count].astype(np.uint64) + np.uint64(1)))
    return keys


def _mixed(keys: Keys) -> Keys:
    """Scatter 64-bit numbers, one to one (the finaliser of splitmix64, Steele et al. 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Keys = keys ^ (keys >> np.uint64(31))
    return mixed


def distinct(pack: Pack, n: int) -> Floats:
    """Different n-grams divided by n-grams of each text; NaN for a text that has none."""
    keys, is_whole = grams(pack.ids_N, n), pack.is_whole(n)
    owners = pack.owners[: len(keys)][is_whole].astype(np.uint64)
    told_apart = np.sort((owners << np.uint64(_BITS)) | (keys[is_whole] >> np.uint64(64 - _BITS)))
    is_new = np.concatenate(([True], told_apart[1:] != told_apart[:-1]))[: len(told_apart)]
    owner = (told_apart[is_new] >> np.uint64(_BITS)).astype(np.int64)
    different = np.bincount(owner, minlength=len(pack.lengths))
    total = np.maximum(pack.lengths - n + 1, 0)
    return np.where(total > 0, different / np.maximum(total, 1), np.nan)
