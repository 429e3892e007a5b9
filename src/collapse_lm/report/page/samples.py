"""The samples of a run in blocks, each small enough to be read while a slider moves. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from collapse_lm.report.page.blocks import inlined_size, pack, unpack
from collapse_lm.report.page.tokens import shown_text
from collapse_lm.rundir import SampleRow

UPDATES = 40  # of a block at most
CHARACTERS = 200_000  # after which a block is closed
_BESIDE = 10  # updates before and after a state that are always kept
_KEYS = {"ends": "ends", "log_probs": "p", "entropies": "h", "base_log_probs": "b"}

Texts = list[dict[str, Any]]  # of one update, as a page shows them


class Samples:
    """The samples of a run, taken in order.

    Attributes:
        updates: that have samples.
        has: what was recorded of at least one text: ends, log_probs, entropies, base_log_probs.
        thinned: true where updates were left out.
    """

    def __init__(self) -> None:
        self.updates: list[int] = []
        self.has = dict.fromkeys(_KEYS, False)
        self.thinned = False
        self._closed: list[tuple[bytes, int]] = []  # blocks, and how many updates each holds
        self._open: list[Texts] = []
        self._size = 0
        self._last: tuple[int, bytes] = (0, b"")  # the open block, packed at that length

    def add(self, row: SampleRow) -> None:
        """Take the samples of the next update, where it has any."""
        if texts := _shown(row):
            self._take(row.update, texts)

    def _take(self, update: int, texts: Texts) -> None:
        self.updates.append(update)
        self._open.append(texts)
        self._size += sum(len(text["text"]) + len(text["prompt"]) for text in texts)
        for name, key in _KEYS.items():
            self.has[name] |= any(key in text for text in texts)
        if len(self._open) >= UPDATES or self._size >= CHARACTERS:
            self._closed.append((pack({"samples": self._open}), len(self._open)))
            self._open, self._size = [], 0

    def blocks(self) -> list[tuple[bytes, int]]:
        """Every block with the number of updates that it holds, in order."""
        if not self._open:
            return list(self._closed)
        if self._last[0] != len(self.updates):
            self._last = (len(self.updates), pack({"samples": self._open}))
        return [*self._closed, (self._last[1], len(self._open))]

    def size(self) -> int:
        """Bytes of a page that they take."""
        return inlined_size(block for block, _ in self.blocks())

    def texts(self) -> Iterable[tuple[int, Texts]]:
        """(update, its texts), in order."""
        place = 0
        for block, count in self.blocks():
            updates = self.updates[place : place + count]
            yield from zip(updates, unpack(block)["samples"], strict=True)
            place += count

    def at(self, update: int) -> Texts:
        """The texts of an update that has some."""
        place = self.updates.index(update)
        for block, count in self.blocks():
            if place < count:
                found: Texts = unpack(block)["samples"][place]
                return found
            place -= count
        raise AssertionError("blocks hold every update")


def samples_of(texts: Iterable[tuple[int, Texts]]) -> Samples:
    """Samples that were taken before, anew in blocks."""
    found = Samples()
    for update, of_it in texts:
        found._take(update, of_it)
    return found


def _shown(row: SampleRow) -> Texts:
    trained = [shown_text(text, "trained on") for text in row.texts]
    return trained + [shown_text(text, "probe") for text in row.probe]


def log_spaced(updates: Sequence[int], count: int) -> list[int]:
    """So many of the updates, dense at the start, the first and the last among them."""
    if count >= len(updates):
        return list(updates)
    last, steps = len(updates) - 1, max(2, count)
    while True:  # at the start, where they are dense, several steps fall on one update
        exact = (math.expm1(math.log1p(last) * step / (steps - 1)) for step in range(steps))
        places = sorted({min(last, round(place)) for place in exact})
        if len(places) >= count:
            return [updates[place] for place in places]
        steps = math.ceil(1.1 * steps) + 1


def beside_states(updates: Sequence[int], states: Iterable[int]) -> set[int]:
    """The updates near a state of the run."""
    near = {at + step for at in states for step in range(-_BESIDE, _BESIDE + 1)}
    return near.intersection(updates)


def thin(samples: Samples, most: int, states: Sequence[int]) -> Samples:
    """Samples that take at most `most` bytes: log-spaced updates, and those beside states.

    The first and the last update stay, whatever they take.
    """
    found, near = samples, beside_states(samples.updates, states)
    size, count = samples.size(), len(samples.updates)
    texts = list(samples.texts()) if size > most else []
    while size > most and count > 2:
        count = max(2, int(count * min(0.95, 0.98 * most / size)))
        free = max(2, count - len(near))
        if free <= 2 and len(near) > count:  # not even these fit
            near = set(sorted(near)[:: math.ceil(len(near) / count)])
        kept = {*near, *log_spaced(samples.updates, free)}
        found = samples_of(pair for pair in texts if pair[0] in kept)
        found.has, found.thinned, size = samples.has, True, found.size()
    return found


def fair_shares(sizes: Sequence[int], budget: int) -> list[int]:
    """How much each may take of a budget: small ones all that they need, the others alike."""
    shares, left = list(sizes), budget
    order = sorted(range(len(sizes)), key=lambda place: sizes[place])
    for rank, place in enumerate(order):
        shares[place] = min(sizes[place], max(0, left) // (len(sizes) - rank))
        left -= shares[place]
    return shares
