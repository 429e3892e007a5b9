"""The last few observations together, where they hold enough to be compared. Pure."""

from collections.abc import Sequence

from collapse_lm.measures.names import Number
from collapse_lm.measures.pool import Pool

# 4-grams of an observation. Of fewer the share that stood in the ones before is mostly chance:
# at a level of one half its standard deviation is .06 with these, and .12 with a quarter.
LEAST_GRAMS = 64


def pooled(
    pool: Pool, samples: Sequence[Sequence[int]], length: int | None = None
) -> dict[str, Number]:
    """What `Pool.see` tells, without the overlap of samples that have too few 4-grams.

    Args:
        pool: of the observations before.
        samples: token ids of each sample.
        length: to which each is cut: of more tokens fewer are different, so that answers that
            grow would look poor beside those of the start. None: not at all.
    """
    cut = [ids[:length] for ids in samples]
    told = pool.see(cut)
    if sum(max(0, len(ids) - 3) for ids in cut) < LEAST_GRAMS:
        told.pop("pool.overlap", None)
    return told


def common_length(samples: Sequence[Sequence[int]]) -> int:
    """Tokens to which samples are cut that are compared with these: their mean length."""
    return max(1, round(sum(map(len, samples)) / len(samples)))
