"""Texts measured as they come, summed up by group in memory of a fixed size.

Knows nothing of files, states or models.
"""

import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collapse_lm.audits.loops import loop_shares
from collapse_lm.audits.packed import Floats, Pack, distinct
from collapse_lm.audits.sources.base import Entry, Key
from collapse_lm.audits.tokens import Tokens
from collapse_lm.config.sections import CollapseRule
from collapse_lm.errors import UserError
from collapse_lm.measures.names import Number

MOST_TOKENS = 1 << 16  # of a text that are looked at
KEPT_TEXTS, KEPT_TOKENS = 96, 512  # of a group, for what is told of several texts together
_MOST_KEPT = 1 << 26  # tokens of all groups; beyond it fewer texts of each are kept
SHOWN = 8  # texts of a group that a record holds
_MOST_SHOWN = 1 << 25  # characters of all groups; beyond it fewer texts of each are held
_MOST_GROUPS = 50_000
_CHUNK = 1 << 19  # characters of texts that are measured at once
_MEANS = ("distinct_1", "distinct_2", "distinct_3", "distinct_4", "seq_rep_4", "compression")

Ids = NDArray[np.uint32]


@dataclass
class Group:
    """What is known of the texts of a group.

    Attributes:
        key: its step, or whatever its texts are grouped by; None where all are one group.
        count: texts.
        tokens: of all of them.
        longest: tokens of the longest, and how many are as long.
        degenerate: texts that are degenerate, each by itself.
        cut: texts of which only the first `MOST_TOKENS` tokens were looked at.
        kept: the first texts, for what is told of several together.
        shown: the first texts, for a record.
    """

    key: Key | None
    count: int = 0
    tokens: int = 0
    longest: tuple[int, int] = (0, 0)
    degenerate: int = 0
    cut: int = 0
    kept: list[Ids] = field(default_factory=list)
    shown: list[tuple[Entry, Ids]] = field(default_factory=list)
    _sums: dict[str, float] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _loops: float = 0.0
    _loop: tuple[float, int] = (0.0, 0)  # the largest share, and its period
    _digests: "array[int]" = field(default_factory=lambda: array("Q"))

    @property
    def length(self) -> float:
        """Mean tokens of a text."""
        return self.tokens / self.count

    @property
    def digest(self) -> bytes:
        """Of its texts."""
        return self._digests.tobytes()

    def values(self) -> dict[str, Number]:
        """The numbers of the group by name; what no text has is absent."""
        told: dict[str, Number] = {"texts.count": self.count, "probe.length": self.length}
        means = {name: self._sums[name] / count for name, count in self._counts.items() if count}
        told |= {f"text.{name}": means[name] for name in _MEANS if name in means}
        told.setdefault("text.seq_rep_4", float("nan"))
        told["text.loop_share"] = self._loops / self.count
        if self._loop[1]:
            told["text.loop_period"] = self._loop[1]
        if self.count > 1:
            told["probe.degenerate_share"] = self.degenerate / self.count
            told["texts.equal"] = 1 - len(set(self._digests)) / self.count
        return told

    def take(self, entry: Entry, ids: Sequence[int], found: "_Found", at: int) -> None:
        """Add what was measured of a text."""
        length = len(ids)
        self.count += 1
        self.tokens += length
        longest, count = self.longest
        if length >= longest:
            self.longest = (length, count + 1 if length == longest else 1)
        self.degenerate += bool(found.degenerate[at])
        self.cut += length > MOST_TOKENS
        for name, values in found.means.items():
            if values[at] == values[at]:
                self._sums[name] = self._sums.get(name, 0.0) + float(values[at])
                self._counts[name] = self._counts.get(name, 0) + 1
        self._loops += float(found.shares[at])
        if found.shares[at] > self._loop[0]:
            self._loop = (float(found.shares[at]), int(found.periods[at]))
        digest = blake2b(entry.text.encode("utf-8", "surrogatepass"), digest_size=8)
        self._digests.append(int.from_bytes(digest.digest()))


@dataclass(frozen=True)
class _Found:
    """What was measured of some texts, a number each."""

    shares: Floats
    periods: NDArray[np.int64]
    means: dict[str, Floats]
    degenerate: NDArray[np.bool_]


class _Keeping:
    """The first texts of every group, fewer of each where all together would be too much.

    Args:
        texts: of a group at most.
        most: of all groups together, in the unit of their sizes.
    """

    def __init__(self, texts: int, most: int) -> None:
        self._texts, self._most, self._spent = texts, most, 0
        self._lists: dict[int, tuple[list[Any], list[int]]] = {}  # what is kept, and its sizes

    def offer(self, kept: list[Any], item: Callable[[], tuple[Any, int]]) -> None:
        """Keep one more, made with its size, where there is room for it."""
        if len(kept) >= self._texts:
            return
        made, size = item()
        _, sizes = self._lists.setdefault(id(kept), (kept, []))
        kept.append(made)
        sizes.append(size)
        self._spent += size
        while self._spent > self._most and self._texts > 1:
            self._texts //= 2
            for items, of in self._lists.values():
                del items[self._texts :], of[self._texts :]
            self._spent = sum(sum(of) for _, of in self._lists.values())


def measure(entries: Iterable[Entry], tokens: Tokens, rule: CollapseRule) -> list[Group]:
    """Measure texts; return their groups, numbers by size, others as they first came.

    Args:
        entries: the texts.
        tokens: what they are counted in.
        rule: says which are degenerate; its loss is not looked at.

    Raises:
        UserError: for more groups than are held.
    """
    groups: dict[Key | None, Group] = {}
    kept, shown = _Keeping(KEPT_TEXTS, _MOST_KEPT), _Keeping(SHOWN, _MOST_SHOWN)
    for chunk in _chunks(entries):
        every = tokens.ids([entry.text for entry in chunk])
        found = _measured([ids[:MOST_TOKENS] for ids in every], chunk, rule)
        for at, (entry, ids) in enumerate(zip(chunk, every, strict=True)):
            group = groups.setdefault(entry.group, Group(entry.group))
            group.take(entry, ids, found, at)
            kept.offer(group.kept, partial(_kept, ids))
            shown.offer(group.shown, partial(_shown, entry, ids))
        if len(groups) > _MOST_GROUPS:
            told = f"more than {_MOST_GROUPS:,} groups"
            raise UserError.single("--by", told, "a column that many texts have one value of")
    return _ordered(list(groups.values()))


def _kept(ids: Sequence[int]) -> tuple[Ids, int]:
    found = np.array(ids[:KEPT_TOKENS], np.uint32)
    return found, len(found)


def _shown(entry: Entry, ids: Sequence[int]) -> tuple[tuple[Entry, Ids], int]:
    return (entry, np.array(ids[:MOST_TOKENS], np.uint32)), len(entry.text) + len(entry.prompt)


def _ordered(groups: list[Group]) -> list[Group]:
    if all(isinstance(group.key, (int, float)) for group in groups):
        return sorted(groups, key=lambda group: float(group.key or 0))
    return groups


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    chunk, size = list[Entry](), 0
    for entry in entries:
        chunk.append(entry)
        size += len(entry.text) + 1
        if size >= _CHUNK or len(chunk) >= 1 << 14:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _measured(ids: Sequence[Sequence[int]], chunk: Sequence[Entry], rule: CollapseRule) -> _Found:
    pack = Pack.of(ids)
    shares, periods = loop_shares(pack)
    means = {f"distinct_{n}": distinct(pack, n) for n in (1, 2, 3, 4)}
    means["seq_rep_4"] = 1 - means["distinct_4"]
    means["compression"] = np.array([_compression(entry.text) for entry in chunk])
    degenerate = (shares >= rule.loop_share) | (means["seq_rep_4"] >= rule.seq_rep_4)
    return _Found(shares, periods, means, degenerate)


def _compression(text: str) -> float:
    """As `measures.text.compression`, of a text that JSON may have cut within a character."""
    raw = text.encode("utf-8", errors="replace")
    return len(zlib.compress(raw, 9)) / len(raw) if raw else float("nan")
