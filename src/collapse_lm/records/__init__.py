"""What a run leaves on disk: rows, and the run directory that holds them. No torch."""

from collapse_lm.records.directory import RunDirectory, RunReader, find_runs
from collapse_lm.records.lock import has_writer, only_writer
from collapse_lm.records.schema import FORMAT_VERSION, UpdateRecord, observations, summarize
from collapse_lm.records.shape import RecordError

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
