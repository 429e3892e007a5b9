"""What each key of a sweep does to the time to collapse: effects, without any verdict.

Numbers are compared from the lowest value to the highest, words with the first of them.
"""

import json
import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from collapse_lm._util.json_text import to_json
from collapse_lm.analysis.outcomes import Measured, spacing
from collapse_lm.analysis.settings import MODEL, SettingLevel, is_number, levels_of, settings
from collapse_lm.analysis.stats.ordered import concordance, trend_test
from collapse_lm.analysis.stats.permutation import PermutationTest
from collapse_lm.analysis.stats.survival import kaplan_meier
from collapse_lm.analysis.stats.time_ratio import TimeRatio, time_ratio

SEED = 0  # of permutations: equal runs give equal effects


@dataclass(frozen=True)
class LevelEffect:
    """One value of a key.

    Attributes:
        name: the value in words.
        runs, seeds, collapses: numbers of them.
        median: of the time to collapse (Kaplan-Meier); None where it is not reached.
        median_lower: limit of its 95 % interval (Brookmeyer-Crowley), or None.
        median_upper: likewise.
        ratio: its times over those of the first value; all NaN for the first.
    """

    name: str
    runs: int
    seeds: int
    collapses: int
    median: float | None
    median_lower: float | None
    median_upper: float | None
    ratio: TimeRatio


@dataclass(frozen=True)
class Effect:
    """What a key does, other keys equal.

    Attributes:
        key: dotted.
        scale: on which the values count: logarithmic, linear, or words, which have no order.
        ratio: times at the highest value over those at the lowest; all NaN for words, but
            for two of them, where it is the second over the first.
        test: permutation test of whether runs with more of it collapse earlier or later.
        concordance: share of comparable pairs in which the run with more collapsed first.
        levels: its values, in order.
    """

    key: str
    scale: str
    ratio: TimeRatio
    test: PermutationTest
    concordance: float
    levels: tuple[LevelEffect, ...]

    def row(self) -> dict[str, Any]:
        """Return the entry of effects.json; what is undefined is null and named there."""
        found = {
            "key": self.key,
            "scale": self.scale,
            "from": self.levels[0].name,
            "to": self.levels[-1].name,
            "time_ratio": asdict(self.ratio),
            "permutation": asdict(self.test),
            "concordance": self.concordance,
            "levels": {level.name: asdict(level) for level in self.levels},
        }
        return dict(json.loads(to_json(found)))


def effects_of(keys: Sequence[str], runs: Sequence[Measured]) -> list[Effect]:
    """The effect of every key that runs differ in.

    Runs at learning rate 0, which train nothing and cannot collapse, are left out.
    """
    training = [run for run in runs if run.outcome.learning_rate > 0]
    found = [(key, levels_of([key], training)) for key in keys]
    return [_effect(key, keys, levels) for key, levels in found if len(levels) > 1]


@dataclass(frozen=True)
class _Sample:
    """Runs in columns. `place` is 0 at the first level and 1 at the last."""

    runs: Sequence[Measured]
    place: Sequence[float]
    strata: Sequence[Hashable]  # other keys; runs are compared where they are equal

    @property
    def times(self) -> list[float]:
        return [float(run.outcome.time) for run in self.runs]

    @property
    def observed(self) -> list[bool]:
        return [run.outcome.observed for run in self.runs]

    @property
    def seeds(self) -> list[int]:
        return [run.outcome.seed for run in self.runs]

    def ratio(self) -> TimeRatio:
        columns = (self.times, self.observed, self.place, self.strata, self.seeds)
        return time_ratio(*columns, spacing=spacing(self.runs))

    def test(self, key: str) -> PermutationTest:
        """Deal the values anew within each seed; models whole, as seeds are no second model."""
        is_model = key == MODEL
        places = zip(self.seeds, self.place, self.runs, strict=True)
        units = [run.outcome.model if is_model else (seed, x) for seed, x, run in places]
        blocks = [None if is_model else seed for seed in self.seeds]
        columns = (self.times, self.observed, self.place, self.strata)
        return trend_test(*columns, seed=SEED, units=units, blocks=blocks)


def _effect(key: str, keys: Sequence[str], levels: Sequence[SettingLevel]) -> Effect:
    scale, places = _scale(key, levels)
    others = [other for other in keys if other != key]
    first, *rest = levels
    described = [_level(first, TimeRatio())]
    described += [_level(level, _sample([first, level], (0, 1), others).ratio()) for level in rest]
    if scale == "words" and rest[1:]:
        nothing = PermutationTest(math.nan, exact=True, assignments=0, smallest=math.nan)
        return Effect(key, scale, TimeRatio(note="words"), nothing, math.nan, tuple(described))
    sample = _sample(levels, places, others)
    order = concordance(sample.times, sample.observed, sample.place, sample.strata)
    return Effect(key, scale, sample.ratio(), sample.test(key), order, tuple(described))


def _sample(
    levels: Sequence[SettingLevel], places: Sequence[float], others: Sequence[str]
) -> _Sample:
    pairs = [(run, x) for level, x in zip(levels, places, strict=True) for run in level.runs]
    strata = [settings(run.config, others) for run, _ in pairs]
    return _Sample([run for run, _ in pairs], [x for _, x in pairs], strata)


def _scale(key: str, levels: Sequence[SettingLevel]) -> tuple[str, list[float]]:
    """The scale of a key, and where on it each level is, from 0 to 1."""
    values = [level.values[0] for level in levels]
    if key == MODEL:
        values = [level.runs[0].outcome.parameters for level in levels]
    if not all(map(is_number, values)) or len(set(values)) < len(values):
        return "words", [place / (len(levels) - 1) for place in range(len(levels))]
    is_positive = min(values) > 0
    numbers = [math.log(value) if is_positive else float(value) for value in values]
    low, high = numbers[0], numbers[-1]
    scaled = [(number - low) / (high - low) for number in numbers]
    return "logarithmic" if is_positive else "linear", scaled


def _level(level: SettingLevel, ratio: TimeRatio) -> LevelEffect:
    outcomes = [run.outcome for run in level.runs]
    found = kaplan_meier([o.time for o in outcomes], [o.observed for o in outcomes])
    return LevelEffect(
        level.name,
        found.runs,
        len({o.seed for o in outcomes}),
        found.collapses,
        found.median,
        found.median_lower,
        found.median_upper,
        ratio,
    )
