"""How far a validation loss has moved from the base model's, and how sure that is.

The same tokens are scored each time, so what differs from text to text cancels in the
change. Its standard error is about the full split that the windows were taken from: zero
where all of it is scored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_BLOCK, FEWEST_BLOCKS = 64, 30  # tokens; blocks without which there is no standard error

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """Mean change of the loss, in nats per token, and its standard error.

    Attributes:
        mean: loss now minus loss before.
        error: NaN with fewer than 30 blocks.
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


def change(before: Numbers, after: Numbers, tokens: Sequence[int], of_split: int) -> Change:
    """The paired change over blocks, with the standard error that a bootstrap of blocks has.

    Resampling blocks estimates the spread of a ratio of sums; its limit over many
    resamples is this closed form, which needs no random numbers (Cochran 1977, 6.4; with
    the correction for a sample of a finite split).

    Args:
        before: -log p of each block's tokens under the base model, summed, in nats.
        after: the same under the model now.
        tokens: of each block.
        of_split: tokens of the full split.
    """
    moved, sizes = after - before, np.asarray(tokens, dtype=np.float64)
    total, blocks = sizes.sum(), len(sizes)
    mean = float(moved.sum() / total)
    if blocks < FEWEST_BLOCKS:
        return Change(mean, math.nan)
    apart = float(((moved - mean * sizes) ** 2).sum()) * blocks / (blocks - 1)
    unseen = max(0.0, 1 - total / of_split)
    return Change(mean, math.sqrt(apart * unseen) / total)
