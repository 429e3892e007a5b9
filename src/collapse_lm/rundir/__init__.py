"""What a run leaves on disk, who writes it, who reads it, and how it goes on."""

from collapse_lm.rundir.layout import RunDirectory
from collapse_lm.rundir.lock import has_writer, only_writer
from collapse_lm.rundir.reader import RunReader, find_runs
from collapse_lm.rundir.rows import FORMAT_VERSION, SampleRow
from collapse_lm.rundir.shape import RecordError

__all__ = [
    "FORMAT_VERSION",
    "RecordError",
    "RunDirectory",
    "RunReader",
    "SampleRow",
    "find_runs",
    "has_writer",
    "only_writer",
]
