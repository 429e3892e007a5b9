"""How far a planned run is, as its directory tells: once with all its rows, or at a glance."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from collapse_lm.config import LENGTH, Config
from collapse_lm.errors import UserError
from collapse_lm.rundir import RunReader, has_writer
from collapse_lm.rundir.layout import UPDATES, holds_run
from collapse_lm.rundir.resume import read_run
from collapse_lm.rundir.rowfile import last_update
from collapse_lm.sweeps.plan import PlannedRun

State = Literal["missing", "running", "unfinished", "done", "damaged"]


@dataclass(frozen=True)
class RunProgress:
    """Where a planned run stands, and what it found, or what is wrong with it."""

    state: State
    update: int = 0
    told: str = ""


def progress_of(run: PlannedRun, path: Path) -> RunProgress:
    """Read a run with all its rows; never raises for what a directory holds."""
    if not holds_run(path):
        return RunProgress("missing")
    try:
        found = read_run(path)
        more = _more(run.config, found.config)
        if more:
            found = read_run(path, more)
        return _ended(path) if found.is_over else _open_ended(path)
    except (UserError, OSError, ValueError) as error:
        return RunProgress("damaged", told=str(error))


def glance_at(run: PlannedRun, path: Path) -> RunProgress:
    """Tell the same of a run that is known to be sound, from a few bytes of it.

    Reads manifest, summary and the last row, however many rows there are.
    """
    try:
        if not holds_run(path):
            return RunProgress("missing")
        return _ended(path) if _is_over(run, path) else _open_ended(path)
    except (UserError, OSError, ValueError, LookupError, TypeError) as error:
        return RunProgress("damaged", told=str(error))


def finding(summary: Mapping[str, Any]) -> str:
    """What a run found, in a line, with the update at which it collapsed."""
    reason, update = str(summary.get("reason", "")), summary.get("collapse_update")
    return (
        reason if update is None else reason.replace("collapse", f"collapse at update {update}", 1)
    )


def _more(asked: Config, had: Config) -> list[str]:
    """The overrides that lengthen a run; a longer one than is asked for will do."""
    words = []
    if asked.run.max_updates > had.run.max_updates:
        words.append(f"{LENGTH}={asked.run.max_updates}")
    if asked.run.max_minutes != had.run.max_minutes:
        words.append(f"run.max_minutes={json.dumps(asked.run.max_minutes)}")
    return words


def _is_over(run: PlannedRun, path: Path) -> bool:
    """What `read_run` says of a run whose files belong together."""
    manifest, config = RunReader(path).manifest(), run.config
    if manifest["status"] == "diverged":
        return True
    summary = RunReader(path).summary() if manifest["status"] == "finished" else None
    if summary is None:
        return False
    minutes = math.inf if config.run.max_minutes is None else config.run.max_minutes
    return bool(
        (summary["collapsed"] and config.collapse.stop and summary.get("limit") is None)
        or summary["updates"] >= config.run.max_updates
        or manifest.get("seconds", 0) >= 60 * minutes
    )


def _ended(path: Path) -> RunProgress:
    summary = RunReader(path).summary() or {}
    return RunProgress("done", int(summary.get("updates", 0)), finding(summary))


def _open_ended(path: Path) -> RunProgress:
    update = last_update(path / UPDATES)
    return RunProgress("running" if has_writer(path) else "unfinished", update)
