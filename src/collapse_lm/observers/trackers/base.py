"""What a tracker is told of a run; each is one class behind this interface.

Calls come from one thread of the tracker's own, in order, so they may be slow, and may
raise: see `feed`. Knows nothing of any tracker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from collapse_lm.measures.names import Row
from collapse_lm.rundir.layout import TRACKERS

PROJECT = "collapse-lm"
COLUMNS = ("update", "role", "origin", "prompt", "text")
_SWEEP = "sweep.yaml"  # in the folder of a sweep, whose runs lie in its folder `runs`


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker knows of a run from the start.

    Attributes:
        directory: of the run.
        name: of its directory.
        group: name of the sweep's folder; empty for a run of its own.
        config: resolved.
        update: updates done by earlier processes; 0 for a run that begins.
    """

    directory: Path
    name: str
    group: str
    config: Mapping[str, Any]
    update: int

    @classmethod
    def of(cls, directory: Path, config: Mapping[str, Any], update: int) -> "TrackedRun":
        """Name a run as its directory is named."""
        place = directory.absolute()
        sweep = place.parent.parent
        is_swept = place.parent.name == "runs" and (sweep / _SWEEP).is_file()
        return cls(directory, place.name, sweep.name if is_swept else "", config, update)

    @property
    def folder(self) -> Path:
        """Where trackers keep what belongs to this run."""
        return self.directory / TRACKERS


@dataclass(frozen=True)
class TrackedText:
    """A text that a run trained on or was judged by, as a row of a table (`COLUMNS`)."""

    update: int
    role: str
    origin: str
    prompt: str
    text: str

    @property
    def cells(self) -> tuple[int, str, str, str, str]:
        """The values of the columns."""
        return self.update, self.role, self.origin, self.prompt, self.text


class Tracker(Protocol):
    """A tracker of one run, told by a thread of its own; any call may raise."""

    def open(self, run: TrackedRun) -> bool:
        """Begin the run, or go on with it; True where the tracker has its earlier rows."""
        ...

    def row(self, row: Row) -> None:
        """Take the numbers of an update, by the names of docs/run-format.md."""
        ...

    def texts(self, texts: Sequence[TrackedText]) -> None:
        """Take the texts of an update."""
        ...

    def alert(self, title: str, text: str) -> None:
        """Tell what deserves a look."""
        ...

    def end(
        self, summary: Mapping[str, Any], texts: Sequence[TrackedText], files: Sequence[Path]
    ) -> None:
        """The run has ended: how, with its texts (as a table holds), figures and pages."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...
