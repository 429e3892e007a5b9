"""The law of dose: with which power of the learning rate, or of the batch, a time goes.

Time ~ amount^exponent, estimated by ranks for censored times (Gehan, see `stats/time_ratio`),
with the jackknife over seeds. An exponent of -1 in the learning rate is a drift of first order,
whose clock is the sum of the rates; -2 is a random walk's. Pure.
"""

import json
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from collapse_lm._util.json_text import to_json
from collapse_lm._util.numbers import exp
from collapse_lm.analysis.events import (
    EVENTS,
    EventTime,
    dose_at,
    fineness,
    survival_of,
)
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.settings import is_number, levels_of, setting, short_keys, told
from collapse_lm.analysis.stats.ordered import concordance, trend_test
from collapse_lm.analysis.stats.permutation import PermutationTest
from collapse_lm.analysis.stats.survival import kaplan_meier
from collapse_lm.analysis.stats.time_ratio import TimeRatio, time_ratio

RATE, BATCH = "training.learning_rate", "sampling.batch_size"
AMOUNTS = (RATE, BATCH)  # keys that have a law
SEED = 0  # of permutations
_NO_TEST = PermutationTest(math.nan, exact=True, assignments=0, smallest=math.nan)


@dataclass(frozen=True)
class Exponent:
    """A power with its 95 % interval over seeds; NaN where there is none, and `note` says why.

    Attributes:
        value: of time ~ amount^value.
        lower: of the interval.
        upper: likewise.
        bound: "at most" or "at least" where the event was seen at one end only.
        note: empty if all is well.
    """

    value: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    bound: str = ""
    note: str = ""


@dataclass(frozen=True)
class LawLevel:
    """Runs at one amount.

    Attributes:
        amount: the learning rate, or the texts of a batch.
        runs, seen: how many there are, and how many of them the event was seen in.
        median: time to it (Kaplan-Meier), in updates; None where it is not reached.
        median_lower: limit of its 95 % interval, or None.
        median_upper: likewise.
        dose: median sum of the learning rates at the event; None where it is not reached.
    """

    amount: float
    runs: int
    seen: int
    median: float | None
    median_lower: float | None
    median_upper: float | None
    dose: float | None


@dataclass(frozen=True)
class Law:
    """How the time to an event goes with an amount, in one arm of a sweep.

    Attributes:
        arm: what else the runs were swept over, in words.
        event: what is timed.
        key: of the amount.
        seeds: number of them.
        exponent: of the time in the amount.
        levels: in the order of the amount.
    """

    arm: str
    event: str
    key: str
    seeds: int
    exponent: Exponent
    levels: tuple[LawLevel, ...]

    def row(self) -> dict[str, Any]:
        """Return the entry of law.json; what is undefined is null and named there."""
        return dict(json.loads(to_json(asdict(self))))


def laws_of(keys: Sequence[str], runs: Sequence[Measured]) -> list[Law]:
    """The law of every amount that runs of an arm differ in, for every event.

    Args:
        keys: dotted, that the runs were swept over.
        runs: those with a time to collapse (`at_risk`); runs at rate 0 are left out.
    """
    training = [run for run in runs if run.outcome.learning_rate > 0]
    found = []
    for key in (key for key in AMOUNTS if key in keys):
        others = [other for other in keys if other != key]
        for arm in levels_of(others, training):
            name = f"{short_keys(others)[0]} {arm.name}" if len(others) == 1 else arm.name
            levels = {setting(run.config, key) for run in arm.runs}
            if len(levels) > 1 and all(is_number(x) and x > 0 for x in levels):
                found += [law_of(key, event, arm.runs, name) for event in EVENTS]
    return [law for law in found if any(level.seen for level in law.levels)]


def law_of(key: str, event: str, runs: Sequence[Measured], arm: str = "") -> Law:
    """How the time to an event goes with an amount, in runs that differ in nothing else."""
    times = [EVENTS[event](run) for run in runs]
    amounts = [float(setting(run.config, key)) for run in runs]
    seeds = [run.outcome.seed for run in runs]
    levels = tuple(
        _level(
            amount, [(r, t) for r, t, x in zip(runs, times, amounts, strict=True) if x == amount]
        )
        for amount in sorted(set(amounts))
    )
    return Law(arm, event, key, len(set(seeds)), exponent(times, amounts, seeds), levels)


def exponent(
    times: Sequence[EventTime],
    amounts: Sequence[float],
    seeds: Sequence[Hashable],
    strata: Sequence[Hashable] | None = None,
) -> Exponent:
    """Estimate the power of an amount (above 0) with which a time goes.

    Args:
        times: one per run; a run that saw the event at update 0 tells nothing.
        amounts: one per run.
        seeds: label per run; the jackknife leaves out one of them at a time.
        strata: label per run; runs are compared within a stratum only. By default all are one.
    """
    found = time_ratio(
        [seen.time for seen in times],
        [seen.observed for seen in times],
        [math.log(amount) for amount in amounts],
        [None] * len(times) if strata is None else strata,
        seeds,
        spacing=fineness(times),
    )
    limits = [math.log(x) if x > 0 else -math.inf for x in (found.lower, found.upper)]
    value = math.log(found.value) if found.value > 0 else math.nan
    lower, upper = limits if not math.isnan(found.lower) else (math.nan, math.nan)
    return Exponent(value, lower, upper, found.bound, found.note)


def _level(amount: float, pairs: Sequence[tuple[Measured, EventTime]]) -> LawLevel:
    times = [seen for _, seen in pairs]
    curve = survival_of(times)
    limits = (curve.median_lower, curve.median_upper)
    return LawLevel(amount, curve.runs, curve.collapses, curve.median, *limits, level_dose(pairs))


def level_dose(pairs: Sequence[tuple[Measured, EventTime]]) -> float | None:
    """The median dose at an event (Kaplan-Meier); None where it is not reached."""
    doses = [dose_at(run, seen.time) for run, seen in pairs]
    return kaplan_meier(doses, [seen.observed for _, seen in pairs]).median


# --- lines and orders -------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """log time = intercept + slope x log amount; NaN where the times do not tell."""

    intercept: float
    slope: float

    def time(self, amount: float) -> float:
        """The time at an amount; infinity where it is beyond all numbers."""
        return exp(self.intercept + self.slope * math.log(amount))


def line(times: Sequence[EventTime], amounts: Sequence[float]) -> Line:
    """The line through censored times: Gehan's slope, and the median of what is left.

    The median is Kaplan-Meier's, so that a censored run counts as one that would be later. Where
    events are seen at fewer than two amounts there is no line.
    """
    found = exponent(times, amounts, [0] * len(times))
    pairs = [pair for pair in zip(times, amounts, strict=True) if pair[0].time]
    seen_at = {amount for seen, amount in pairs if seen.observed}
    if len(seen_at) < 2 or found.bound or not math.isfinite(found.value):
        return Line(math.nan, math.nan)
    rest = [math.log(seen.time) - found.value * math.log(amount) for seen, amount in pairs]
    least = min(rest)  # times begin at 0
    middle = kaplan_meier([x - least for x in rest], [seen.observed for seen, _ in pairs]).median
    return Line(math.nan if middle is None else middle + least, found.value)


@dataclass(frozen=True)
class Order:
    """Whether arms come in an order that was told beforehand.

    Attributes:
        test: permutation test of the log-rank trend, dealt within seeds.
        concordance: share of the comparable pairs in which the arm that was told to be earlier
            was; 1/2 is no order.
        ratios: time of each arm over that of the one before it.
    """

    test: PermutationTest
    concordance: float
    ratios: tuple[TimeRatio, ...]


def order_of(
    arms: Sequence[Sequence[Measured]],
    time_of: Callable[[Measured], EventTime],
    stratum: Callable[[Measured], Hashable] = lambda run: None,
) -> Order:
    """Test whether times grow from each arm to the next.

    Args:
        arms: runs of each, the arm that is to be earliest first.
        time_of: the event.
        stratum: of a run; arms are compared within a stratum only.
    """
    runs = [(place, run, time_of(run)) for place, arm in enumerate(arms) for run in arm]
    if not runs:
        return Order(_NO_TEST, math.nan, ())
    times, observed = [t.time for _, _, t in runs], [t.observed for _, _, t in runs]
    sooner = [float(-place) for place, _, _ in runs]  # the more of it, the earlier
    strata, seeds = [stratum(run) for _, run, _ in runs], [r.outcome.seed for _, r, _ in runs]
    units = [(seed, place) for (place, _, _), seed in zip(runs, seeds, strict=True)]
    test = trend_test(times, observed, sooner, strata, seed=SEED, units=units, blocks=seeds)
    agreed = concordance(times, observed, sooner, strata)
    ratios = [ratio_of(*pair, time_of, stratum) for pair in pairwise(arms)]
    return Order(test, agreed, tuple(ratios))


def ratio_of(
    first: Sequence[Measured],
    second: Sequence[Measured],
    time_of: Callable[[Measured], EventTime],
    stratum: Callable[[Measured], Hashable] = lambda run: None,
) -> TimeRatio:
    """Times of the second arm over those of the first."""
    runs = [*((0.0, run) for run in first), *((1.0, run) for run in second)]
    if not runs:
        return TimeRatio(note="no runs")
    times = [time_of(run) for _, run in runs]
    return time_ratio(
        [seen.time for seen in times],
        [seen.observed for seen in times],
        [place for place, _ in runs],
        [stratum(run) for _, run in runs],
        [run.outcome.seed for _, run in runs],
        spacing=fineness(times),
    )


def amount_words(key: str, amount: float) -> str:
    """An amount in words."""
    return told(amount if key == RATE else round(amount))
