"""Runs sorted by what their group varies: learning rate, size, or a cell of the phase diagram.

Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.analysis.outcomes import Measured, Outcome

LEARNING_RATE, SIZE, PHASE = "learning rate", "size", "phase"
Groups = Mapping[str, Sequence[Measured]]
Level = Callable[[Outcome], Any]


def rate(outcome: Outcome) -> float:
    """Learning rate: what the group "learning rate" varies."""
    return outcome.learning_rate


def size(outcome: Outcome) -> tuple[int, str]:
    """(parameters or 0, model reference): what the group "size" varies."""
    return outcome.parameters or 0, outcome.model


def cell(outcome: Outcome) -> tuple[int, float, float]:
    """(sample length, temperature, learning rate): what the group "phase" varies."""
    return outcome.sample_length, outcome.temperature, outcome.learning_rate


def sort_by(runs: Sequence[Measured], level: Level) -> dict[Any, list[Measured]]:
    """Return level -> its runs, in the order of the levels."""
    found: dict[Any, list[Measured]] = {}
    for run in runs:
        found.setdefault(level(run.outcome), []).append(run)
    return dict(sorted(found.items()))


def sort_group(group: str, runs: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Return the runs of a group by level, each level named in words of its own."""
    level, *ways = _NAMED[group]
    found = list(sort_by(runs, level).values())
    names: list[str] = []
    for name in ways:
        names = [name(members[0].outcome) for members in found]
        if len(set(names)) == len(names):
            break
    else:  # names that differ in what cannot be shown
        names = [f"{name} #{place}" for place, name in enumerate(names, 1)]
    return dict(zip(names, found, strict=True))


def describe_levels(group: str, runs: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """Count runs, seeds and collapses of each level, with the median time to collapse.

    A median or limit that is not reached is None.
    """
    from collapse_lm.analysis.stats.survival import kaplan_meier  # brings scipy.stats

    described = {}
    for name, members in sort_group(group, runs).items():
        outcomes = [run.outcome for run in members]
        curve = kaplan_meier([o.time for o in outcomes], [o.observed for o in outcomes])
        described[name] = {
            "runs": curve.runs,
            "seeds": len({o.seed for o in outcomes}),
            "collapses": curve.collapses,
            "median": curve.median,
            "median_lower": curve.median_lower,
            "median_upper": curve.median_upper,
        }
    return described


def name_rate(learning_rate: float) -> str:
    """Write a learning rate as a reader does: 2e-05 is 2e-5."""
    if not 0 < learning_rate < 0.001:
        return f"{learning_rate:g}"
    return _as_power(learning_rate)


def alike(values: Sequence[float]) -> list[str]:
    """Write numbers in one form: powers of ten where one needs it, else decimals alike."""
    if any(0 < abs(value) < 0.001 for value in values):
        return [_as_power(value) for value in values]
    texts = [name_rate(value) for value in values]
    if any("e" in text for text in texts):
        return texts
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [f"{value:.{decimals}f}" if value else "0" for value in values]


def by_rate(runs: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Sort runs by their learning rates, each in words."""
    found = sort_by(runs, rate)
    return dict(zip(alike(list(found)), found.values(), strict=True))


def _as_power(value: float) -> str:
    digits, _, power = f"{value:.6e}".partition("e")
    return f"{float(digits):g}e{int(power)}" if value else "0"


def name_parameters(parameters: int | None) -> str:
    """Write a number of parameters in thousands, millions or billions."""
    if not parameters:
        return "unknown size"
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= 0.9995 * unit:
            return f"{parameters / unit:.3g}{letter}"
    return str(parameters)


def _name_size(outcome: Outcome) -> str:
    return f"{printable(outcome.label)} ({name_parameters(outcome.parameters)})"


def _name_model(outcome: Outcome) -> str:
    """Name a size where the references of two models end alike."""
    return f"{printable(outcome.model)} ({outcome.parameters})"


def _name_cell(outcome: Outcome) -> str:
    temperature, length = outcome.temperature, outcome.sample_length
    rate = name_rate(outcome.learning_rate)
    return f"learning rate {rate}, temperature {temperature:g}, {length} tokens"


# What a group varies, and ways to name a level, of which the first that tells all apart is used.
_NAMED: dict[str, tuple[Level, *tuple[Callable[[Outcome], str], ...]]] = {
    LEARNING_RATE: (rate, lambda outcome: name_rate(outcome.learning_rate)),
    SIZE: (size, _name_size, _name_model),
    PHASE: (cell, _name_cell),
}
