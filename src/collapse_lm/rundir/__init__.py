"""What a run leaves on disk: rows, and the run directory that holds them. No torch."""

from collapse_lm.rundir.layout import RunDirectory, RunReader, find_runs
from collapse_lm.rundir.lock import has_writer, only_writer
from collapse_lm.rundir.rows import FORMAT_VERSION, UpdateRecord, observations, summarize
from collapse_lm.rundir.shape import RecordError

__all__ = [
    "FORMAT_VERSION",
    "RecordError",
    "RunDirectory",
    "RunReader",
    "UpdateRecord",
    "find_runs",
    "has_writer",
    "observations",
    "only_writer",
    "summarize",
]
