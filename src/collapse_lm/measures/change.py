"""How far a validation loss has moved from the base model's, and how sure that is.

The same tokens are scored each time, so what differs from text to text cancels in the
change. Its standard error is about the full split that the windows were taken from: zero
where all of it is scored. Knows nothing of models and draws no random number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_BLOCK, FEWEST_BLOCKS = 64, 30  # tokens; blocks without which there is no standard error
FEWEST_WINDOWS = 2  # likewise: one window says nothing of how far others lie apart

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """Mean change of the loss, in nats per token, and its standard error.

    Attributes:
        mean: loss now minus loss before.
        error: NaN with fewer than 30 blocks or with one window, unless that is the full split.
    """

    mean: float
    error: float


def block_sizes(windows: Sequence[int]) -> list[list[int]]:
    """Split windows into blocks of neighbouring tokens.

    Args:
        windows: tokens that each scores.

    Returns:
        Sizes of the blocks of each window, as even as they can be: at most 64 tokens, and
        fewer where there would be less than 30 blocks.
    """
    longest = min(LARGEST_BLOCK, max(1, sum(windows) // FEWEST_BLOCKS))
    counts = [-(-tokens // longest) for tokens in windows]
    return [
        [(place + 1) * tokens // count - place * tokens // count for place in range(count)]
        for tokens, count in zip(windows, counts, strict=True)
    ]


def change(
    before: Numbers, after: Numbers, windows: Sequence[Sequence[int]], of_split: int
) -> Change:
    """The paired change of a loss over windows, with its standard error about the full split.

    Blocks of one window move together, for they share a text, so windows are what differs.
    They are spread evenly over a text that may itself change from its beginning to its end,
    which their mean then knows better than windows taken at random would: what counts is how
    neighbours differ (Wolter 1984, JASA 79, successive differences; of a ratio estimate,
    Cochran 1977, section 6.4; with the correction for a sample of a finite split). A few
    windows tell this badly, and now and then hardly differ; blocks taken as independent are
    many, and tell too little. The error is the larger of the two.

    Args:
        before: -log p of each block's tokens under the base model, summed, in nats.
        after: the same under the model now.
        windows: tokens of each block, by window, in the order of the text.
        of_split: tokens of the full split.
    """
    moved, sizes = after - before, np.concatenate([np.asarray(one, float) for one in windows])
    total = float(sizes.sum())
    mean, unseen = float(moved.sum()) / total, max(0.0, 1 - total / of_split)
    if unseen == 0:
        return Change(mean, 0.0)
    if len(sizes) < FEWEST_BLOCKS or len(windows) < FEWEST_WINDOWS:
        return Change(mean, math.nan)
    apart = moved - mean * sizes
    by_window = np.add.reduceat(apart, np.cumsum([0, *map(len, windows[:-1])]))
    of_sum = max(_about_mean(apart) * len(apart), _of_neighbours(by_window) * len(by_window))
    return Change(mean, math.sqrt(of_sum * unseen) / total)


def _about_mean(apart: Numbers) -> float:
    """Variance of numbers, from how far each is from their mean."""
    return float((apart**2).sum()) / (len(apart) - 1)


def _of_neighbours(numbers: Numbers) -> float:
    """Variance of numbers about a level that may move from the first to the last."""
    return float((np.diff(numbers) ** 2).mean()) / 2
