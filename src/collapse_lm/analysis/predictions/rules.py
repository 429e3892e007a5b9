"""The rules by which a prediction is held, failed or undecided: a band, an order, each run.

docs/predictions.md states them in words.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from collapse_lm.analysis.law import Exponent, Order
from collapse_lm.analysis.stats.time_ratio import TimeRatio
from collapse_lm.analysis.stats.trend import student_interval

Verdict = Literal["held", "failed", "undecided"]

FEWEST_SEEDS = 3
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Judged:
    """A prediction with what was found.

    Attributes:
        id: as in docs/predictions.md.
        verdict: held, failed or undecided.
        predicted: the number or order, in words.
        found: likewise, with its interval.
        value: the number; NaN without one.
        lower: of its 95 % interval; NaN without one.
        upper: likewise.
        note: why there is no interval, or nothing.
    """

    id: str
    verdict: Verdict
    predicted: str
    found: str
    value: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class Number:
    """A number with its interval; limits are NaN where there is none."""

    value: float
    lower: float = math.nan
    upper: float = math.nan
    note: str = ""


def banded(name: str, number: Number, low: float, high: float, predicted: str = "") -> Judged:
    """Held where the interval lies in the band, failed where it lies outside of it."""
    if math.isnan(number.lower) or math.isnan(number.upper):
        verdict: Verdict = "undecided"
    elif low <= number.lower and number.upper <= high:
        verdict = "held"
    else:
        verdict = "failed" if number.upper < low or number.lower > high else "undecided"
    band = f"{_limit(low)} to {_limit(high)}"
    words = f"{predicted} ({band})" if predicted else band
    limits = (number.value, number.lower, number.upper)
    return Judged(name, verdict, words, told(number), *limits, number.note)


def ordered(name: str, order: Order, predicted: str) -> Judged:
    """Held where the permutation test finds the order that was told, failed for the opposite."""
    p = order.test.p_value
    is_sure = not math.isnan(p) and p <= SIGNIFICANT
    agrees = order.concordance > 1 / 2
    verdict: Verdict = ("held" if agrees else "failed") if is_sure else "undecided"
    found = f"{order.concordance:.0%} of the pairs in this order, p = {p:.3g}"
    return Judged(name, verdict, predicted, found, order.concordance)


def each_run(name: str, is_so: Sequence[bool], seeds: int, predicted: str) -> Judged:
    """Held where it is so in every run, failed where in at most half of them."""
    count, runs = sum(is_so), len(is_so)
    verdict: Verdict = "undecided"
    if seeds >= FEWEST_SEEDS:
        verdict = "held" if count == runs else "failed" if 2 * count <= runs else "undecided"
    return Judged(name, verdict, predicted, f"in {count} of {runs} runs")


def mean_over_seeds(by_seed: Mapping[int, Iterable[float]]) -> Number:
    """The mean over seeds with Student's interval; runs of one seed are averaged first."""
    found = student_interval([float(np.mean(list(values))) for values in by_seed.values()])
    if math.isnan(found.value):
        return Number(math.nan, note="no run tells")
    few = f"no interval from fewer than {FEWEST_SEEDS} seeds" if math.isnan(found.lower) else ""
    return Number(found.value, found.lower, found.upper, few)


def of_exponent(found: Exponent) -> Number:
    """An exponent as a number; a bound has no interval."""
    return Number(found.value, found.lower, found.upper, found.note)


def of_ratio(found: TimeRatio) -> Number:
    """A time ratio as a number; a bound is a limit of it on one side, and has no interval."""
    return Number(found.value, found.lower, found.upper, found.note)


def told(number: Number) -> str:
    """A number with its interval, or with why it has none."""
    if math.isnan(number.value):
        return f"not known ({number.note})" if number.note else "not known"
    limits = (number.lower, number.upper)
    if any(map(math.isnan, limits)):
        return f"{number.value:.3g}" + (f" ({number.note})" if number.note else "")
    return f"{number.value:.3g} ({number.lower:.3g} to {number.upper:.3g})"


def _limit(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "any"
