"""What is kept of a tracker's run in the run directory, so that a resume goes on with it."""

import json
from pathlib import Path

from collapse_lm._util.files import read_regular, write_atomically
from collapse_lm.observers.trackers.base import TrackedRun


def kept(run: TrackedRun, tracker: str) -> str | None:
    """The id that a tracker knows this run by; None where it does not know it.

    A run that begins knows none, whatever lies in its directory.
    """
    if not run.update:
        return None
    try:
        found = json.loads(read_regular(_place(run, tracker)))["id"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, str) else None


def keep(run: TrackedRun, tracker: str, known_by: str) -> None:
    """Keep the id that a tracker knows this run by."""
    run.folder.mkdir(exist_ok=True)
    write_atomically(_place(run, tracker), json.dumps({"id": known_by}) + "\n")


def _place(run: TrackedRun, tracker: str) -> Path:
    return run.folder / f"{tracker}.json"
