"""Arithmetic that has an answer for every number."""

import math


def exp(value: float) -> float:
    """Exponential; infinite where no float holds it, NaN of NaN."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
