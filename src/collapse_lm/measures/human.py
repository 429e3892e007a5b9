"""The text metrics of human text, at the length of a sample: a line to read curves by.

All metrics of n-grams depend on length, so the text is cut into windows as long as a
sample. Knows nothing of corpora and models.
"""

import math
from collections.abc import Callable, Sequence

from collapse_lm.measures.text import measure_samples, text_values

MOST_WINDOWS = 20
_DIGITS = 6


def human_values(
    ids: Sequence[int], length: int, decode: Callable[[Sequence[int]], str]
) -> tuple[dict[str, float], int]:
    """Measure up to 20 windows of a text, spread evenly over it, that do not overlap.

    Args:
        ids: token ids of the text.
        length: of a window, in tokens.
        decode: token ids to text.

    Returns:
        The mean metrics by the names of their columns (`text.distinct_1`, ...), and the
        number of windows; nothing and 0 for a text that is shorter than one.
    """
    count = min(MOST_WINDOWS, len(ids) // length)
    if not count:
        return {}, 0
    step = len(ids) // count
    windows = [[*ids[start : start + length]] for start in range(0, step * count, step)]
    found = text_values(measure_samples(windows, [decode(window) for window in windows]))
    found.pop("text.loop_period", None)  # of one window, and no mean
    known = {name: round(value, _DIGITS) for name, value in found.items() if math.isfinite(value)}
    return known, count
