"""The record itself: the observer of a run that must not fail."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collapse_lm.experiment.batch import Record
from collapse_lm.rundir.layout import SAMPLES, UPDATES
from collapse_lm.rundir.rowfile import Length, RowFile
from collapse_lm.rundir.rows import row_line, sample_line


class Recorder:
    """Appends the rows of a run.

    Args:
        path: the run directory.
        content: what its files of rows hold now, by name.
    """

    def __init__(self, path: Path, content: Mapping[str, bytes]) -> None:
        self.path = path
        self._files = {name: RowFile(path / name, content[name]) for name in (UPDATES, SAMPLES)}

    def update(self, record: Record) -> None:
        """Add the row of an update, the sample first: a row in updates.jsonl is complete."""
        if record.batch.texts or record.has_own_probe:
            self._files[SAMPLES].append(sample_line(record))
        self._files[UPDATES].append(row_line(record.row))

    def flush(self) -> dict[str, Length]:
        """Bring the rows to the disk itself; return how long the files are, with hashes."""
        return {name: file.flush() for name, file in self._files.items()}


def empty() -> dict[str, Any]:
    """The content of a run directory that has just been made."""
    return {UPDATES: b"", SAMPLES: b""}
