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

    Blocks of one window move together, for they share a text: windows are the clusters of a
    ratio estimate (Cochran 1977, sections 6.4 and 9A; with the correction for a sample of a
    finite split). A few windows estimate their own spread badly, and now and then find hardly any;
    blocks taken as independent estimate it well, and too small. The error is the larger one.

    Args:
        before: -log p of each block's tokens under the base model, summed, in nats.
        after: the same under the model now.
        windows: tokens of each block, by window.
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
    firsts = np.cumsum([0, *map(len, windows[:-1])])
    spread = max(_spread(apart), _spread(np.add.reduceat(apart, firsts)))
    return Change(mean, math.sqrt(spread * unseen) / total)


def _spread(apart: Numbers) -> float:
    """Variance of a sum, from how far each of its parts lies from their mean."""
    return float((apart**2).sum()) * len(apart) / (len(apart) - 1)
