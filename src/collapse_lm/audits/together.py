"""Several texts together: how much of a group stood in the five before it, how much is different.

The numbers of `measures.pool`, of n-grams that are compared by hashes of 64 bits. They depend
on how many texts there are and on their lengths, so that all groups show as many, cut to one
length. Knows nothing of files.
"""

from collections import deque
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from collapse_lm.audits.groups import Group, Ids
from collapse_lm.audits.packed import Keys, Pack, grams
from collapse_lm.measures.names import Number
from collapse_lm.measures.pool import ORDERS, PROBES


class Pool:
    """The n-grams of the last groups; each group costs the same."""

    def __init__(self) -> None:
        self._grams: deque[dict[int, Keys]] = deque(maxlen=PROBES)
        self._totals: deque[dict[int, int]] = deque(maxlen=PROBES)

    def see(self, texts: Sequence[Ids]) -> dict[str, Number]:
        """Take the next group; return `pool.overlap` and `pool.distinct_N`, as `measures.pool`."""
        pack = Pack.of(texts)
        all_of = {n: grams(pack.ids_N, n)[pack.is_whole(n)] for n in ORDERS}
        different = {n: np.unique(keys) for n, keys in all_of.items()}
        told: dict[str, Number] = {}
        if self._grams and len(different[4]):
            before = np.concatenate([known[4] for known in self._grams])
            told["pool.overlap"] = float(np.isin(different[4], before).mean())
        self._grams.append(different)
        self._totals.append({n: len(keys) for n, keys in all_of.items()})
        for n in ORDERS:
            total = sum(totals[n] for totals in self._totals)
            if total:
                keys = np.unique(np.concatenate([known[n] for known in self._grams]))
                told[f"pool.distinct_{n}"] = len(keys) / total
        return told


def first_of(group: Group, texts: int, length: int) -> list[Ids]:
    """The texts of a group that are looked at together, each cut to a length."""
    return [ids[:length] for ids in group.kept[:texts]]


def levels(texts: Sequence[Ids], size: int) -> dict[str, Number]:
    """Mean numbers of groups of texts with five other groups before them.

    Args:
        texts: are dealt into groups, in order and in a circle.
        size: texts of a group.

    Returns:
        `overlap` and `distinct_N`; nothing where the texts make fewer than six groups.
    """
    dealt = [texts[i : i + size] for i in range(0, len(texts) - size + 1, size)] if size else []
    if len(dealt) <= PROBES:
        return {}
    pool, found = Pool(), list[dict[str, Number]]()
    for place, group in enumerate([*dealt, *dealt[:PROBES]]):
        told = pool.see(group)
        if place >= PROBES:
            found.append(told)
    names = [name for name in found[0] if all(name in told for told in found)]
    return {n.removeprefix("pool."): fmean(told[n] for told in found) for n in names}
