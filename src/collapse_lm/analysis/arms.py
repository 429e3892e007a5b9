"""The arms of a sweep by short names: `own`, `frozen`, `own, learning rate 0`.

An arm is a combination of values of the keys that a sweep is over. Its name tells where the
batch comes from, where that varies, and else only what sets the arm apart. Pure.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.settings import (
    SettingLevel,
    deciding,
    is_number,
    levels_of,
    settings,
    told,
)

SOURCE = "source.kind"
_OWN = "own"
Arms = dict[str, Sequence[Measured]]


def arms_of(keys: Sequence[str], runs: Sequence[Measured]) -> Arms:
    """Sort runs into arms, each with a name of its own: first those on the model's own samples.

    Args:
        keys: dotted, that the runs were swept over.
        runs: of the sweep.
    """
    return _arms(varied_keys(keys, runs), runs)


def short_arms(keys: Sequence[str], runs: Sequence[Measured], room: int) -> tuple[Arms, str]:
    """Sort runs into arms, in the same order, under names that fit a figure where they can.

    Where a name of `arms_of` is longer, a key that goes with an earlier one (each optimizer at a
    rate of its own, say) is in no name.

    Args:
        keys: dotted, that the runs were swept over.
        runs: of the sweep.
        room: characters of a name.

    Returns:
        The arms, and in words what was left out of their names, or nothing.
    """
    varied = varied_keys(keys, runs)
    arms = _arms(varied, runs)
    if all(len(name) <= room for name in arms):
        return arms, ""
    levels = levels_of(varied, runs)
    along = _going_along(varied, levels)
    hidden = [key for others in along.values() for key in others]
    short = _arms(varied, runs, hidden)
    if max(map(len, short)) >= max(map(len, arms)):  # names without these keys are not unique
        return arms, ""
    told = []
    for first, others in along.items():
        for level in levels_of([first, *others], runs):
            whose, *words = map(_words, (first, *others), level.values)
            told += [f"{whose} with {', '.join(filter(None, words))}"] if any(words) else []
    return short, "; ".join(told)


def _arms(varied: Sequence[str], runs: Sequence[Measured], hidden: Collection[str] = ()) -> Arms:
    levels = levels_of(varied, runs)
    usual = {key: _usual(key, runs) for key in varied}
    names = [_name(varied, level, usual, hidden) for level in levels]
    if len(varied) < 2 or len(set(names)) < len(names):
        names = [level.name for level in levels]
    pairs = sorted(zip(names, levels, strict=True), key=lambda pair: _rank(varied, usual, pair[1]))
    return {name: level.runs for name, level in pairs}


def varied_keys(keys: Sequence[str], runs: Sequence[Measured]) -> list[str]:
    """Those of the keys that decide numbers and in which runs differ; not the length of a run."""
    return [
        key
        for key in deciding(keys)
        if len({repr(settings(run.config, [key])) for run in runs}) > 1
    ]


def _usual(key: str, runs: Sequence[Measured]) -> tuple[Any, ...]:
    """The value, as a tuple of one, of two thirds of the runs; empty without such a value."""
    ((value, count),) = Counter(settings(run.config, [key])[0] for run in runs).most_common(1)
    return (value,) if key != SOURCE and 3 * count >= 2 * len(runs) else ()


def _going_along(keys: Sequence[str], levels: Sequence[SettingLevel]) -> dict[str, list[str]]:
    """The keys that part the arms just as an earlier one does, by that one; never the source."""
    first: dict[tuple[int, ...], str] = {}
    found: dict[str, list[str]] = {}
    for place, key in enumerate(keys):
        values = [level.values[place] for level in levels]
        parting = tuple(map(values.index, values))
        if parting in first and key != SOURCE:
            found.setdefault(first[parting], []).append(key)
        else:
            first.setdefault(parting, key)
    return found


def _name(
    keys: Sequence[str],
    level: SettingLevel,
    usual: dict[str, tuple[Any, ...]],
    hidden: Collection[str],
) -> str:
    words = [
        _words(key, value)
        for key, value in zip(keys, level.values, strict=True)
        if key not in hidden and (value,) != usual[key]
    ]
    return ", ".join(filter(None, words)) or "the usual"


def _words(key: str, value: Any) -> str:
    """A value in words: a source by its kind, another part with its place, a number with its key.

    A setting that another kind of part has, and this one has not, is no word.
    """
    *before, last = key.split(".")
    short = last.replace("_", " ")
    if key == SOURCE:
        return told(value)
    if last == "kind":
        return f"{before[-1].replace('_', ' ')} {told(value)}" if value else ""
    if value is None:
        return "" if before[:1] in (["source"], ["objective"]) else f"no {short}"
    if before[:1] == ["precision"]:
        return f"{told(value)} {short}"
    if is_number(value) or isinstance(value, bool):
        return f"{short} {told(value)}"
    return told(value)


def _rank(
    keys: Sequence[str], usual: dict[str, tuple[Any, ...]], level: SettingLevel
) -> tuple[bool, int]:
    values = dict(zip(keys, level.values, strict=True))
    departures = [key for key, value in values.items() if usual[key] and (value,) != usual[key]]
    return values.get(SOURCE, _OWN) != _OWN, len(departures)
