"""The states of a monitor's rows, look after look; for the scripts of docs/monitor.md. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collapse_lm.config import CollapseRule
from collapse_lm.measures.endings import STATES, Endings
from collapse_lm.measures.names import Row
from collapse_lm.monitor import MONITOR_RULE

_OF_A_PROBE = "text.loop_share"


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


def looks(rows: Iterable[Row], rule: CollapseRule = MONITOR_RULE) -> Iterator[Look]:
    """The probes of a record in order, as the monitor judged them."""
    endings = Endings(rule)
    for row in rows:
        endings.see(row)
        if _OF_A_PROBE in row.values:
            shown = tuple(state for state in STATES if endings.shown[state])
            yield Look(row, shown, dict(endings.within))


def without_drift(states: Iterable[str]) -> list[str]:
    """The states that are trouble by themselves."""
    return [state for state in states if state != "drift"]
