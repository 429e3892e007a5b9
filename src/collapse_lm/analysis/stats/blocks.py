"""The mean of a series whose neighbours depend on one another, with an interval.

Knows nothing of runs: here the unit is a block of one series, which speaks for more text of
the same kind and not for other models, seeds or texts.
"""

import math
from collections.abc import Sequence

import numpy as np

from collapse_lm import rng
from collapse_lm.analysis.stats.survival import check_confidence
from collapse_lm.analysis.stats.trend import Interval

_FEWEST = 10  # values without which there is no interval


def block_bootstrap(
    values: Sequence[float], confidence: float = 0.95, *, seed: int, resamples: int = 10_000
) -> Interval:
    """Return the mean of a series with the percentile interval of a circular block bootstrap.

    Blocks of n^(1/3) neighbours, rounded up, are drawn with replacement from the series closed
    to a ring (Politis and Romano 1992; on the length, Hall, Horowitz and Jing 1995). A trend
    along the series counts as spread, which makes the interval wider, not narrower.

    Args:
        values: in order, (n,).
        confidence: nominal coverage, between 0 and 1.
        seed: of the draws.
        resamples: number of draws.

    Returns:
        NaN for limits of fewer than ten values, and where one is not finite.

    Raises:
        UserError: for a confidence out of range.
    """
    check_confidence(confidence)
    series = np.asarray(values, dtype=np.float64)
    count = len(series)
    mean = float(series.mean()) if count else math.nan
    if count < _FEWEST or not np.isfinite(series).all():
        return Interval(mean, math.nan, math.nan, count)
    length = math.ceil(round(count ** (1 / 3), 9))
    ring = np.concatenate([series, series[: length - 1]])
    block_means = np.convolve(ring, np.full(length, 1 / length), mode="valid")
    starts = rng.numpy_stream(seed, "bootstrap").integers(
        count, size=(resamples, math.ceil(count / length))
    )
    drawn = block_means[starts].mean(axis=1)
    lower, upper = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(lower), float(upper), count)
