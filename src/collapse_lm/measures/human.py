"""The text metrics of human text, at the length of a sample: a line to read curves by.

All metrics of n-grams depend on length, so the text is cut into windows as long as a
sample. Knows nothing of corpora and models.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from collapse_lm.measures.pool import PROBES, Pool
from collapse_lm.measures.text import measure_samples, text_values

MOST_WINDOWS = 20
_DIGITS = 6


def human_values(
    ids: Sequence[int], length: int, decode: Callable[[Sequence[int]], str], samples: int = 1
) -> tuple[dict[str, float], int]:
    """Measure up to 20 windows of a text, spread evenly over it, that do not overlap.

    Args:
        ids: token ids of the text.
        length: of a window, in tokens.
        decode: token ids to text.
        samples: of a probe, for what is pooled over probes.

    Returns:
        The mean metrics by the names of their columns (`text.distinct_1`, ...), and the
        number of windows; nothing and 0 for a text that is shorter than one. What is pooled
        (`pool.overlap`, ...) is there too, where the text is long enough for it.
    """
    count = min(MOST_WINDOWS, len(ids) // length)
    if not count:
        return {}, 0
    step = len(ids) // count
    windows = [[*ids[start : start + length]] for start in range(0, step * count, step)]
    found = text_values(measure_samples(windows, [decode(window) for window in windows]))
    found.pop("text.loop_period", None)  # of one window, and no mean
    found |= pooled_values(ids, length, samples)
    known = {name: round(value, _DIGITS) for name, value in found.items() if math.isfinite(value)}
    return known, count


def pooled_values(ids: Sequence[int], length: int, samples: int) -> dict[str, float]:
    """Mean of what `Pool` tells of six probes of windows in a row, the last of them new to it.

    Up to 20 such stretches, spread evenly; nothing of a text that is shorter than one. The
    windows of a stretch are neighbours in one text, and so more alike than windows of several
    would be.
    """
    probe = length * samples
    stretch = probe * (PROBES + 1)
    count = min(MOST_WINDOWS, len(ids) // stretch)
    told = [_pooled(ids, place * (len(ids) // count), length, samples) for place in range(count)]
    names = set.intersection(*map(set, told)) if told else set[str]()
    return {name: fmean(one[name] for one in told) for name in sorted(names)}


def _pooled(ids: Sequence[int], start: int, length: int, samples: int) -> dict[str, float]:
    """What the pool tells of the last of six probes that begin at a place."""
    pool, told = Pool(), dict[str, float]()
    for probe in range(PROBES + 1):
        first = start + probe * samples * length
        places = range(first, first + samples * length, length)
        told = dict(pool.see([ids[place : place + length] for place in places]))
    return told
