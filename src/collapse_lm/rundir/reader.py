"""A run directory that is only read, whatever process left it, in format 1 or 2."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from collapse_lm._util.files import require_regular
from collapse_lm.errors import UserError
from collapse_lm.measures.names import Row
from collapse_lm.rundir.layout import CONFIG, MANIFEST, ROW_FILES, SAMPLES, SUMMARY, UPDATES
from collapse_lm.rundir.rowfile import begins_with, read_bytes, whole_lines
from collapse_lm.rundir.rows import SampleRow, has_gaps, parse_row, parse_sample, require_series
from collapse_lm.rundir.shape import ManifestShape, RecordError, SummaryShape, naming, parse

_LOG = logging.getLogger(__name__)
T = TypeVar("T", Row, SampleRow)


class RunReader:
    """A run directory that is only read.

    What is there and does not have its shape is `RecordError`; the rows of a place without a
    run are `UserError`. `load_config(RUN)` reads the configuration.

    Attributes:
        path: of the run directory.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunReader({str(self.path)!r})"

    def _repr_html_(self) -> str | None:
        """How a notebook shows the run; None, and so its repr, where it cannot be read."""
        from collapse_lm.report.card import run_card

        try:
            name, summary = self.path.absolute().name, self.summary()
            return run_card(name, self.manifest(), summary, self.updates())
        except (OSError, RecordError, UserError):
            return None

    def manifest(self) -> dict[str, Any]:
        """The manifest."""
        return parse(MANIFEST, _read(self.path / MANIFEST), ManifestShape)

    def summary(self) -> dict[str, Any] | None:
        """The summary, or None while the run has not ended."""
        path = self.path / SUMMARY
        return parse(SUMMARY, _read(path), SummaryShape) if os.path.lexists(path) else None

    def updates(self) -> list[Row]:
        """The rows of updates.jsonl, row 0 first."""
        self._require_run()
        return rows_of(read_bytes(self.path / UPDATES), gaps=self._has_gaps())

    def samples(self) -> list[SampleRow]:
        """The rows of samples.jsonl."""
        self._require_run()
        return samples_of(read_bytes(self.path / SAMPLES), gaps=self._has_gaps())

    def _has_gaps(self) -> bool:
        """Whether updates may be missing; a run that lost its manifest has all."""
        try:
            return has_gaps(self.manifest())
        except (OSError, RecordError):
            return False

    def _require_run(self) -> None:
        """Refuse a place that holds nothing of a run; what a run lost is told otherwise."""
        if any(os.path.lexists(self.path / name) for name in (CONFIG, MANIFEST, *ROW_FILES)):
            return
        is_folder = os.path.isdir(self.path)  # noqa: PTH112 (Path.is_dir raises for some names)
        raise UserError.single(
            str(self.path),
            "a folder that is no run" if is_folder else "no such folder",
            "a run directory",
            "`collapse-lm ls DIR` lists the runs in a folder, collapse_lm.tables(DIR) reads them",
        )

    def to_pandas(self, table: Literal["updates", "samples"] = "updates") -> Any:
        """The rows as a data frame of pandas.

        Args:
            table: updates, with a row per update and a column per name of
                docs/run-format.md; or samples, with a row per text.

        Raises:
            UserError: for a run that is damaged or not there, for another table, and
                without pandas.
        """
        from collapse_lm.rundir.frames import frame, rows_for

        return frame(rows_for(self, table))

    def snapshot(self) -> "Snapshot":
        """Both files of rows as they are now, each read once."""
        content = {name: read_bytes(self.path / name) for name in ROW_FILES}
        return Snapshot(content, self._has_gaps())

    def check_end(self, snapshot: "Snapshot | None" = None) -> None:
        """Of a run that has ended, see that rows, samples and summary end together."""
        summary, seen = self.summary(), snapshot or self.snapshot()
        if summary is None:
            raise RecordError(f"{SUMMARY}: missing")
        ends = {
            UPDATES: max(0, len(seen.rows) - 1),
            SAMPLES: len(seen.samples),
            SUMMARY: summary["updates"],
        }
        if seen.gaps:  # not every row has samples
            last = seen.rows[-1].update if seen.rows else 0
            ends = {UPDATES: last, SUMMARY: summary["updates"]}
            seen.samples  # noqa: B018 (read for what may be wrong with it)
        if len(set(ends.values())) > 1:
            told = ", ".join(f"{name} at update {end}" for name, end in ends.items())
            raise RecordError(f"files that end apart: {told}")


@dataclass(frozen=True)
class Snapshot:
    """The files of rows at one moment; what is parsed is parsed once.

    Attributes:
        content: bytes by file name.
        gaps: updates may be missing.
    """

    content: Mapping[str, bytes]
    gaps: bool = False

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of updates.jsonl, row 0 first."""
        return rows_of(self.content[UPDATES], gaps=self.gaps)

    @cached_property
    def samples(self) -> list[SampleRow]:
        """The rows of samples.jsonl."""
        return samples_of(self.content[SAMPLES], gaps=self.gaps)

    def changed(self, lengths: Mapping[str, Any]) -> list[str]:
        """The files that no longer begin with the bytes that a checkpoint saw."""
        return [n for n in ROW_FILES if not begins_with(self.content[n], lengths[n])]

    def cut(self, lengths: Mapping[str, Any] | None) -> "Snapshot":
        """The same files, only as long as given; empty for None."""
        ends = {name: lengths[name]["bytes"] if lengths else 0 for name in ROW_FILES}
        return Snapshot({name: self.content[name][:end] for name, end in ends.items()}, self.gaps)


def rows_of(content: bytes, *, gaps: bool = False) -> list[Row]:
    """Parse updates.jsonl.

    Args:
        content: of the file.
        gaps: updates may be missing.

    Raises:
        RecordError: naming the first line that is wrong.
    """
    return _parsed(UPDATES, content, parse_row, 0, gaps=gaps)


def samples_of(content: bytes, *, gaps: bool = False) -> list[SampleRow]:
    """Parse samples.jsonl.

    Args:
        content: of the file.
        gaps: updates may be missing.

    Raises:
        RecordError: naming the first line that is wrong.
    """
    return _parsed(SAMPLES, content, parse_sample, 1, gaps=gaps)


def _parsed(
    name: str, content: bytes, parse_line: Callable[[str, str], T], first: int, *, gaps: bool
) -> list[T]:
    lines = enumerate(whole_lines(name, content), 1)
    rows = [parse_line(f"{name}, line {number}", line) for number, line in lines]
    require_series(name, rows, first, gaps=gaps)
    return rows


def find_runs(folder: Path) -> list[RunReader]:
    """Return the run directories in a folder (itself included), in path order.

    A folder with rows and a manifest or configuration is one, so that a run of which a
    file was lost is still listed. Links are not followed; of a folder that cannot be read
    there is a warning.
    """
    found = []
    for place, folders, files in os.walk(folder, onerror=_warn):
        names = {*folders, *files}
        if names & set(ROW_FILES) and names & {MANIFEST, CONFIG}:
            found.append(RunReader(Path(place)))
    return sorted(found, key=lambda reader: reader.path)


def _warn(error: OSError) -> None:
    _LOG.warning("%s is passed over: %s", error.filename, error.strerror)


def _read(path: Path) -> str:
    require_regular(path)
    with naming(path.name):
        return path.read_text(encoding="utf-8")
