"""Alerts through the trackers that a trainer reports to, where they have them.

trackio and wandb are never imported here: one that is not yet there has no run to alert.
"""

import logging
import sys
from collections.abc import Collection
from typing import Any

from collapse_lm.monitor.findings import Finding
from collapse_lm.monitor.states import DRIFT

_LOG = logging.getLogger("collapse_lm.monitor")
_BROKEN = "broken at the start"


class Alerts:
    """An alert for each state of each stream, once; held until trackers can take it."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._held: list[tuple[str, str, str]] = []

    def take(self, finding: Finding) -> None:
        """Hold an alert for each state that is entered for the first time."""
        told = [_BROKEN] if finding.broken_at_start else list(finding.entered)
        for state in told:
            if (finding.stream, state) not in self._known:
                self._known.add((finding.stream, state))
                level = "WARN" if state == DRIFT else "ERROR"
                self._held.append((f"collapse: {state} ({finding.stream})", finding.message, level))

    def send(self, report_to: Collection[str]) -> None:
        """Send what is held to the trackers that a trainer reports to."""
        held, self._held = self._held, []
        for title, text, level in held:
            alert(title, text, level, report_to)


def alert(title: str, text: str, level: str, report_to: Collection[str]) -> list[str]:
    """Send an alert; a tracker that fails is told, and passed over.

    Args:
        title: fewer than 64 characters, as wandb wants it.
        text: a sentence.
        level: WARN or ERROR.
        report_to: names of trackers, as in the trainer's arguments.

    Returns:
        The trackers that took it.
    """
    took = []
    for name, send in (("trackio", _by_trackio), ("wandb", _by_wandb)):
        try:
            if name in report_to and send(sys.modules.get(name), title, text, level):
                took.append(name)
        except Exception as error:  # whatever a tracker raises
            _LOG.warning("%s took no alert: %s: %s", name, type(error).__name__, error)
    return took


def _by_trackio(trackio: Any, title: str, text: str, level: str) -> bool:
    if not hasattr(trackio, "alert"):  # absent, or older than alerts
        return False
    trackio.alert(title=title, text=text, level=getattr(trackio.AlertLevel, level))
    return True


def _by_wandb(wandb: Any, title: str, text: str, level: str) -> bool:
    run = getattr(wandb, "run", None)
    if run is None:
        return False
    run.alert(title=title, text=text, level=level)
    return True
