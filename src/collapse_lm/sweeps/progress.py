"""How far a planned run is, as its directory tells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from collapse_lm.config import LENGTH
from collapse_lm.errors import UserError
from collapse_lm.rundir import RunReader, has_writer
from collapse_lm.rundir.layout import holds_run
from collapse_lm.rundir.resume import read_run
from collapse_lm.sweeps.plan import PlannedRun

Progress = Literal["missing", "running", "unfinished", "done", "damaged"]


@dataclass(frozen=True)
class RunState:
    """Where a planned run stands, and what is wrong with it if something is."""

    progress: Progress
    update: int = 0
    told: str = ""


def state_of(run: PlannedRun, path: Path) -> RunState:
    """Read how far a run is; never raises for what a directory holds."""
    if not holds_run(path):
        return RunState("missing")
    try:
        found, length = read_run(path), run.config.run.max_updates
        if length > found.config.run.max_updates:  # a longer run than asked for will do
            found = read_run(path, [f"{LENGTH}={length}"])
        rows = RunReader(path).updates()
    except (UserError, OSError, ValueError) as error:
        return RunState("damaged", told=str(error))
    update = rows[-1]["update"] if rows else 0
    if found.is_over:
        return RunState("done", update, str((RunReader(path).summary() or {}).get("reason", "")))
    return RunState("running" if has_writer(path) else "unfinished", update)
