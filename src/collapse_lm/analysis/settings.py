"""What runs of a sweep differ in: the values of its keys, and runs sorted by them. Pure."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.analysis.levels import alike, name_rate
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.config import MOVED, Config
from collapse_lm.config.identity import decides_numbers, decisive
from collapse_lm.config.keys import field_of, value_at

MODEL = "model"


@dataclass(frozen=True)
class SettingLevel:
    """Runs that have the same values of some keys.

    Attributes:
        values: of each key; None where a run does not have it.
        name: the values in words, different for each level.
        runs: in the order given.
    """

    values: tuple[Any, ...]
    name: str
    runs: tuple[Measured, ...]


def setting(config: Config, key: str) -> Any:
    """The value of a dotted key: a scalar, JSON text of anything else; None if there is none."""
    value = value_at(config.model_dump(mode="json"), MOVED.get(key, key).split("."))
    is_scalar = value is None or isinstance(value, (str, int, float))
    return value if is_scalar else json.dumps(value, ensure_ascii=False)


def settings(config: Config, keys: Sequence[str]) -> tuple[Any, ...]:
    """The values of several keys."""
    return tuple(setting(config, key) for key in keys)


def levels_of(keys: Sequence[str], runs: Sequence[Measured]) -> list[SettingLevel]:
    """Sort runs by the values of keys: numbers by size, models by parameters, then words."""
    found: dict[tuple[Any, ...], list[Measured]] = {}
    for run in runs:
        found.setdefault(settings(run.config, keys), []).append(run)
    ordered = sorted(found.items(), key=lambda pair: _rank(keys, *pair))
    names = _names(keys, [values for values, _ in ordered])
    return [
        SettingLevel(values, name, tuple(members))
        for (values, members), name in zip(ordered, names, strict=True)
    ]


def differing(runs: Sequence[Measured]) -> list[str]:
    """The dotted keys, the seed aside, that decide numbers and in which runs differ."""
    names = dict.fromkeys(key for run in runs for key in decisive(run.config) if key != "seed")
    return [key for key in names if len({repr(setting(run.config, key)) for run in runs}) > 1]


def deciding(keys: Sequence[str]) -> list[str]:
    """Those of some dotted keys that decide numbers: not the length of a run, say."""
    fields = {key: field_of(MOVED.get(key, key)) for key in keys}
    return [key for key, field in fields.items() if field is None or decides_numbers(field)]


def short_keys(keys: Sequence[str]) -> list[str]:
    """The last parts of keys, or whole keys where two of them end alike."""
    short = [key.rpartition(".")[2] for key in keys]
    return short if len(set(short)) == len(short) else list(keys)


def is_number(value: Any) -> bool:
    """True for a finite number; true and false are words."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def told(value: Any) -> str:
    """A value in words: 2e-05 is 2e-5."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return name_rate(value) if is_number(value) else printable(str(value))


def _rank(keys: Sequence[str], values: Sequence[Any], runs: Sequence[Measured]) -> list[Any]:
    parameters = runs[0].outcome.parameters
    ordered = [
        parameters if key == MODEL and parameters else value
        for key, value in zip(keys, values, strict=True)
    ]
    return [
        (0, value, str(given)) if is_number(value) else (1, 0, told(value))
        for value, given in zip(ordered, values, strict=True)
    ]


def _names(keys: Sequence[str], levels: Sequence[Sequence[Any]]) -> list[str]:
    """Name levels; of models the last parts of their paths do, where these differ."""
    if not keys or not levels:
        return ["all runs" for _ in levels]
    columns = [
        _short_paths(column) if key == MODEL else _told_alike(column)
        for key, column in zip(keys, zip(*levels, strict=True), strict=True)
    ]
    if len(keys) == 1:
        return columns[0]
    rows = zip(*columns, strict=True)
    short = short_keys(keys)
    return [
        ", ".join(f"{key} {value}" for key, value in zip(short, row, strict=True)) for row in rows
    ]


def _told_alike(values: Sequence[Any]) -> list[str]:
    """Values in words; numbers as powers of ten where one of them is told so."""
    numbers = [value for value in values if is_number(value)]
    words = [told(value) for value in values]
    if not any("e-" in told(value) for value in numbers):
        return words
    forms = dict(zip(numbers, alike(numbers), strict=True))
    return [forms[v] if is_number(v) else word for v, word in zip(values, words, strict=True)]


def _short_paths(references: Sequence[Any]) -> list[str]:
    ends = {str(r): printable(str(r).rstrip("/").rpartition("/")[2]) for r in references}
    are_apart = len(set(ends.values())) == len(ends)
    return [ends[str(r)] if are_apart else printable(str(r)) for r in references]
