"""The loop of each of many texts, as `measures.text.find_loop` finds that of one.

A run of period p has at least p tokens in a row that equal the one p before. Of so many,
every (p / 4)-th is enough to see that there is none, which is the case for nearly all periods
of nearly all texts; where there may be one, all are looked at. So a text of n tokens takes
about n log n steps, where `find_loop` takes n * n / 4. Knows nothing of tokenizers or files.
"""

import numpy as np
from numpy.typing import NDArray

from collapse_lm.audits.packed import Floats, Ints, Pack
from collapse_lm.measures.text import LARGEST_PERIOD_SHARE, SHORTEST_LOOP

_DENSE = 32  # periods up to which all tokens are looked at
_LOOKS = 4  # at tokens of a possible run of a longer period


class _Longest:
    """The longest run of each text so far, its period, and where it begins."""

    def __init__(self, count: int) -> None:
        self.length, self.period, self.start = (np.zeros(count, np.int64) for _ in range(3))

    def take(self, texts: Ints, period: int, starts: Ints, lengths: Ints) -> None:
        """Take runs of a period, larger than those before: longer ones win, then earlier ones."""
        is_loop = lengths >= max(2 * period, SHORTEST_LOOP)
        for place in np.flatnonzero(is_loop & (lengths > self.length[texts])):
            text = texts[place]
            if lengths[place] > self.length[text]:
                self.length[text], self.period[text] = lengths[place], period
                self.start[text] = starts[place]

    def needs_no_look(self, text: int, period: int, tokens: int) -> bool:
        """True where no run of this period can be longer than the longest.

        At a multiple of its period, what repeats there repeats exactly as far, so that another
        run lies before or behind it, but for one period.
        """
        length, start, known = self.length[text], self.start[text], self.period[text]
        if not length or period % known or period > length:
            return False
        outside = max(start, tokens - start - length)
        return bool(outside + period <= length)


def loop_shares(pack: Pack) -> tuple[Floats, Ints]:
    """Of each text the share of its tokens in its longest loop, 0 without one; and its period."""
    lengths = pack.lengths
    largest = (lengths * LARGEST_PERIOD_SHARE).astype(np.int64)
    found = _Longest(len(lengths))
    for period in range(1, int(largest.max(initial=0)) + 1):
        if period <= _DENSE:
            _look_at_all(pack, period, largest, found)
        else:
            _look_at_some(pack, period, largest, found)
    return found.length / np.maximum(lengths, 1), found.period


def _look_at_all(pack: Pack, period: int, largest: Ints, found: _Longest) -> None:
    ids, owners = pack.ids_N, pack.owners
    places = np.flatnonzero(ids[period:] == ids[:-period])  # each equals the token a period on
    texts = owners[places]
    places = places[(texts == owners[places + period]) & (period <= largest[texts])]
    if not len(places):
        return
    texts = owners[places]
    breaks = np.flatnonzero((np.diff(places) != 1) | (np.diff(texts) != 0)) + 1
    firsts = np.concatenate(([0], breaks))
    counts = np.diff(np.concatenate((firsts, [len(places)])))
    of = texts[firsts].astype(np.int64)
    found.take(of, period, places[firsts] - pack.bounds[of], counts + period)


def _look_at_some(pack: Pack, period: int, largest: Ints, found: _Longest) -> None:
    step = period // _LOOKS
    equal = pack.ids_N[period::step] == pack.ids_N[:-period:step]
    if len(equal) < _LOOKS:
        return
    in_a_row = equal[: 1 - _LOOKS].copy()
    for look in range(1, _LOOKS):
        in_a_row &= equal[look : len(equal) - _LOOKS + 1 + look]
    places = np.flatnonzero(in_a_row) * step
    for text in np.unique(pack.owners[places]):
        if period <= largest[text] and not found.needs_no_look(
            int(text), period, int(pack.lengths[text])
        ):
            is_equal = pack.text(text)[period:] == pack.text(text)[:-period]
            if not _may_hold(is_equal, max(period, int(found.length[text]) + 1 - period)):
                continue
            starts, lengths = _runs(is_equal, period)
            found.take(np.full(len(starts), text), period, starts, lengths)


def _may_hold(is_equal: NDArray[np.bool_], least: int) -> bool:
    """False where no run has so many: it would cover one of the parts half as long, whole."""
    part = max(1, least // 2)
    whole = len(is_equal) // part
    return bool(is_equal[: whole * part].reshape(whole, part).all(1).any())


def _runs(is_equal: NDArray[np.bool_], period: int) -> tuple[Ints, Ints]:
    """Where each run of a period begins in a text, and its tokens.

    Args:
        is_equal: of each token, whether it is that of a period later.
        period: in tokens.
    """
    breaks = np.flatnonzero(~is_equal)
    edges = np.concatenate(([-1], breaks, [len(is_equal)]))
    counts = np.diff(edges) - 1
    is_run = counts > 0
    return edges[:-1][is_run] + 1, counts[is_run] + period
