"""The last few observations together, where they hold enough to be compared. Pure."""

from collections.abc import Sequence

from collapse_lm.measures.names import Number
from collapse_lm.measures.pool import Pool

# 4-grams of an observation. Of fewer the share that stood in the ones before is mostly chance:
# at a level of one half its standard deviation is .06 with these, and .12 with a quarter.
LEAST_GRAMS = 64


def pooled(pool: Pool, samples: Sequence[Sequence[int]]) -> dict[str, Number]:
    """What `Pool.see` tells, without the overlap of samples that have too few 4-grams.

    Args:
        pool: of the observations before.
        samples: token ids of each sample.
    """
    told = pool.see(samples)
    if sum(max(0, len(ids) - 3) for ids in samples) < LEAST_GRAMS:
        told.pop("pool.overlap", None)
    return told
