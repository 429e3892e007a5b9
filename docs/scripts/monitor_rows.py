"""The states of a monitor's rows, look after look; for the scripts of docs/monitor.md. Pure."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collapse_lm.config import CollapseRule
from collapse_lm.measures.endings import profile_of
from collapse_lm.measures.names import Row
from collapse_lm.monitor import MONITOR_RULE
from collapse_lm.monitor.states import States

_OF_A_PROBE, _OF_THE_BASELINE = "text.loop_share", "base_samples.count"
# What the states are read from, by the name that it has in rollouts.
_OF_ROLLOUTS = {
    "loop_share": "text.loop_share",
    "seq_rep_4": "text.seq_rep_4",
    "degenerate_share": "probe.degenerate_share",
    "length": "probe.length",
    "overlap": "pool.overlap",
    **{f"pool_distinct_{n}": f"pool.distinct_{n}" for n in (1, 2, 3, 4)},
}
_LOOP_ALONE = ("loop_share", "seq_rep_4", "degenerate_share")  # before the levels are known


@dataclass(frozen=True)
class Look:
    """One probe.

    Attributes:
        row: its numbers.
        shown: the states that it shows.
        within: the states that the model is in by then, with their onsets.
    """

    row: Row
    shown: tuple[str, ...]
    within: dict[str, int]


def looks(rows: Iterable[Row], rule: CollapseRule | None = None) -> Iterator[Look]:
    """The looks of a record in order, as the monitor judged them.

    Args:
        rows: of probes, or what `rollouts` makes of those of rollouts.
        rule: of probes, the one that stands in the record's configuration.
    """
    states, is_first = States(MONITOR_RULE), True
    for row in rows:
        if _OF_THE_BASELINE in row.values:
            states.take_levels(row, rule)
        if is_first:
            is_first = False
            shares = (row.get(f"{of}.degenerate_share") for of in ("base_samples", "probe"))
            states.begin(row.update, next(share for share in shares if not math.isnan(share)))
        if _OF_A_PROBE in row.values and _OF_THE_BASELINE not in row.values:
            told = states.see(row)
            yield Look(row, told.shown, told.entered)


def entered(rows: Iterable[Row], rule: CollapseRule) -> dict[str, int]:
    """The first onset of each state that was entered, by the rule as it is calibrated."""
    return {
        state: stay["entered"]
        for state, stay in profile_of(rows, rule).items()
        if stay["entered"] is not None
    }


def without_drift(states: Iterable[str]) -> list[str]:
    """The states that are trouble by themselves."""
    return [state for state in states if state != "drift"]


def rollouts(rows: Iterable[Row]) -> Iterator[Row]:
    """The rollouts of a record by the names of probes, for `looks`: as the monitor reads them."""
    known = False
    for row in rows:
        told = {n.removeprefix("rollouts."): v for n, v in row.values.items()}
        levels = {n.removeprefix("start_"): v for n, v in told.items() if n.startswith("start_")}
        if levels:
            known = True
            named = {f"base_samples.{name}": value for name, value in levels.items()}
            yield Row(row.update, {"base_samples.count": 0, **named})
        names = _OF_ROLLOUTS if known else _LOOP_ALONE
        yield Row(row.update, {_OF_ROLLOUTS[name]: told[name] for name in names if name in told})
