"""The run directory: who writes it, who reads it.

    config.yaml  manifest.json  updates.jsonl  samples.jsonl  summary.json
    checkpoints/  figures/  samples.md  model/ (run.export_model)

The record is the truth: figures and reports only read it. The two .jsonl files are
append-only; only a resume cuts them, back to the checkpoint that it starts from.
Knows nothing of models.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from collapse_lm._util.files import require_regular, write_atomically, writing
from collapse_lm.errors import UserError
from collapse_lm.rundir.rows import Row, UpdateRecord, to_json
from collapse_lm.rundir.shape import (
    ManifestShape,
    RecordError,
    SampleShape,
    SummaryShape,
    UpdateShape,
    naming,
    parse,
    require_series,
)

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
UPDATES = "updates.jsonl"
SAMPLES = "samples.jsonl"
SUMMARY = "summary.json"
LOCK = ".lock"
ROW_FILES = (UPDATES, SAMPLES)
Lengths = dict[str, dict[str, Any]]  # file -> {"bytes": its length, "sha256": of those bytes}


@dataclass(frozen=True)
class RunDirectory:
    """A run directory that one process writes."""

    path: Path

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Refuse a place that already holds something.

        Raises:
            UserError: if `path` is a file, a run, or any folder that is not empty.
        """
        try:
            if not path.exists() or (path.is_dir() and _is_unused(path)):
                return
        except OSError as error:
            raise UserError.single(
                f"--out {path}", error.strerror, "a new or empty folder", "choose another --out"
            ) from None
        got = "a folder that already holds a run" if holds_run(path) else "a path already in use"
        raise UserError.single(
            f"--out {path}", got, "a new or empty folder", "choose another --out"
        )

    @classmethod
    def create(cls, path: Path, config_yaml: str, manifest: Mapping[str, Any]) -> "RunDirectory":
        """Fill an empty directory; the manifest, which makes it a run, comes last."""
        cls.check_free(path)
        directory = cls(path)
        directory.clean()
        for name in ROW_FILES:
            write_atomically(path / name, "")
        write_atomically(path / CONFIG, config_yaml)
        directory.write_json(MANIFEST, manifest)
        return directory

    def append(self, record: UpdateRecord) -> None:
        """Add the row of an update, the sample first: a row in updates.jsonl is complete."""
        if record.samples:
            _append_line(self.path / SAMPLES, to_json(record.sample_row()))
        _append_line(self.path / UPDATES, to_json(record.row()))

    def flush(self) -> Lengths:
        """Bring the rows to the disk itself; return how long the files are, with hashes."""
        return {name: self._flush(name) for name in ROW_FILES}

    def _flush(self, name: str) -> dict[str, Any]:
        with writing(self.path / name), (self.path / name).open("rb") as file:
            content = file.read()
            os.fsync(file.fileno())
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def changed(self, lengths: Lengths) -> list[str]:
        """The files that no longer begin with the bytes that `flush` saw."""
        return [name for name in ROW_FILES if not self._begins_with(name, lengths[name])]

    def _begins_with(self, name: str, seen: dict[str, Any]) -> bool:
        path = self.path / name
        start = path.read_bytes()[: seen["bytes"]] if path.is_file() else b""
        is_whole = len(start) == seen["bytes"]  # neither past the end nor from it
        return is_whole and bool(hashlib.sha256(start).hexdigest() == seen["sha256"])

    def clean(self) -> None:
        """Remove what a killed process left half-written."""
        for leftover in _leftovers(self.path):
            leftover.unlink(missing_ok=True)

    def cut(self, lengths: Lengths | None) -> None:
        """Drop the rows past the lengths given; all of them for None."""
        for name in ROW_FILES:
            with writing(self.path / name), (self.path / name).open("ab") as file:
                file.truncate(lengths[name]["bytes"] if lengths else 0)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file as a whole or not at all."""
        clean = json.loads(to_json(value))
        write_atomically(self.path / name, json.dumps(clean, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class RunReader:
    """A run directory that is only read; what does not have its shape is `RecordError`."""

    path: Path

    def manifest(self) -> Row:
        """The manifest."""
        return parse(MANIFEST, _read(self.path / MANIFEST), ManifestShape)

    def summary(self) -> Row | None:
        """The summary, or None while the run has not ended."""
        path = self.path / SUMMARY
        return parse(SUMMARY, _read(path), SummaryShape) if os.path.lexists(path) else None

    def updates(self) -> list[Row]:
        """The rows of updates.jsonl, row 0 first."""
        return require_series(UPDATES, _read_lines(self.path / UPDATES, UpdateShape), 0)

    def samples(self) -> list[Row]:
        """The rows of samples.jsonl."""
        return require_series(SAMPLES, _read_lines(self.path / SAMPLES, SampleShape), 1)

    def check_end(self) -> None:
        """Of a run that has ended, see that rows, samples and summary end together."""
        summary = self.summary()
        if summary is None:
            raise RecordError(f"{SUMMARY}: missing")
        ends = {
            UPDATES: max(0, len(self.updates()) - 1),
            SAMPLES: len(self.samples()),
            SUMMARY: summary["updates"],
        }
        if len(set(ends.values())) > 1:
            told = ", ".join(f"{name} at update {end}" for name, end in ends.items())
            raise RecordError(f"files that end apart: {told}")


def default_directory(name: str, seed: int) -> Path:
    """A new place for a run: runs/NAME-seedN-TIME."""
    return Path("runs") / f"{name}-seed{seed}-{datetime.now(UTC):%Y%m%dT%H%M%S}"


def holds_run(path: Path) -> bool:
    """True for a run directory, in whatever state it is."""
    return os.path.lexists(path / MANIFEST)


def find_runs(folder: Path) -> list[RunReader]:
    """Return the run directories in a folder (itself included), in path order.

    A folder with rows and a manifest or configuration is one, so that a run of which a
    file was lost is still listed. Links are not followed; unreadable folders are passed over.
    """
    found = []
    for place, folders, files in os.walk(folder):
        names = {*folders, *files}
        if names & set(ROW_FILES) and names & {MANIFEST, CONFIG}:
            found.append(RunReader(Path(place)))
    return sorted(found, key=lambda reader: reader.path)


def _is_unused(path: Path) -> bool:
    """True for an empty folder, also for one whose run was killed before it began."""
    found = {item.name for item in path.iterdir()} - {LOCK}
    found -= {item.name for item in _leftovers(path)}
    if not found:
        return True
    has_begun = any((path / name).stat().st_size for name in found & set(ROW_FILES))
    return not has_begun and (found <= set(ROW_FILES) or found == {*ROW_FILES, CONFIG})


def _leftovers(path: Path) -> list[Path]:
    """Files that a process was killed while writing (see `write_atomically`)."""
    names = (CONFIG, MANIFEST, SUMMARY, *ROW_FILES, "samples.md")
    return [item for name in names for item in path.glob(f".{name}-*")]


def _append_line(path: Path, line: str) -> None:
    with writing(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(line + "\n")


def _read(path: Path) -> str:
    require_regular(path)
    with naming(path.name):
        return path.read_text(encoding="utf-8")


def _read_lines(path: Path, shape: type[BaseModel]) -> list[Row]:
    """Read the rows of a file; a last line without its end was never completed."""
    require_regular(path)
    with naming(path.name), path.open(encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [
        parse(f"{path.name}, line {number}", line, shape) for number, line in enumerate(lines, 1)
    ]
