"""The last few probes together: does a model say the same as before, and how much in all?

A sample can be varied in itself and still be the one before over again; the samples of a
batch can be varied each and all alike. Measures within a sample see neither. Pure; knows
nothing of models or files.
"""

from collections import deque
from collections.abc import Sequence

from collapse_lm.measures.names import Number

Grams = frozenset[tuple[int, ...]]
PROBES = 5  # that are pooled, and that a probe is compared with
ORDERS = (1, 2, 3, 4)


class Pool:
    """The n-grams of the last probes; each probe costs the same, however many came before."""

    def __init__(self) -> None:
        self._grams: deque[dict[int, Grams]] = deque(maxlen=PROBES)
        self._totals: deque[dict[int, int]] = deque(maxlen=PROBES)

    def see(self, samples: Sequence[Sequence[int]]) -> dict[str, Number]:
        """Take the next probe; return what it and those before it tell, by column.

        Args:
            samples: token ids of each sample of the probe, as plain numbers.

        Returns:
            `pool.overlap`: share of the different 4-grams of the probe that stood in any of
            the five probes before it; absent at the first. `pool.distinct_N`: different/total
            n-grams of the last five probes, this one included. Without an n-gram: absent.
        """
        grams = {n: grams_of(samples, n) for n in ORDERS}
        told: dict[str, Number] = {}
        if self._grams and grams[4]:
            before = Grams().union(*(known[4] for known in self._grams))
            told["pool.overlap"] = len(grams[4] & before) / len(grams[4])
        self._grams.append(grams)
        self._totals.append({n: sum(max(0, len(s) - n + 1) for s in samples) for n in ORDERS})
        for n in ORDERS:
            total = sum(totals[n] for totals in self._totals)
            if total:
                different = Grams().union(*(known[n] for known in self._grams))
                told[f"pool.distinct_{n}"] = len(different) / total
        return told


def grams_of(samples: Sequence[Sequence[int]], n: int) -> Grams:
    """The different n-grams of samples."""
    return frozenset(
        tuple(ids[start : start + n]) for ids in samples for start in range(len(ids) - n + 1)
    )
