"""The run directory: who writes it, who reads it.

    config.yaml  manifest.json  updates.jsonl  samples.jsonl  summary.json
    figures/  samples.md

The record is the truth: figures and reports only read it. The two .jsonl files are
append-only. Knows nothing of models.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_lm.errors import MachineError, UserError
from collapse_lm.records.schema import Row, UpdateRecord, to_json

MANIFEST = "manifest.json"
UPDATES = "updates.jsonl"
SAMPLES = "samples.jsonl"


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
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return
        is_run = (path / MANIFEST).is_file()
        got = "a folder that already holds a run" if is_run else "a path that is already in use"
        raise UserError.single(
            f"--out {path}", got, "a new or empty folder", "choose another --out"
        )

    @classmethod
    def create(cls, path: Path, config_yaml: str, manifest: Mapping[str, Any]) -> "RunDirectory":
        """Make the directory with its configuration and manifest."""
        cls.check_free(path)
        directory = cls(path)
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / "config.yaml", config_yaml)
        for name in (UPDATES, SAMPLES):
            write_atomically(path / name, "")
        directory.write_json(MANIFEST, manifest)
        return directory

    def append(self, record: UpdateRecord) -> None:
        """Add the row of an update, the sample first: a row in updates.jsonl is complete."""
        if record.samples:
            _append_line(self.path / SAMPLES, to_json(record.sample_row()))
        _append_line(self.path / UPDATES, to_json(record.row()))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file as a whole or not at all."""
        clean = json.loads(to_json(value))
        write_atomically(self.path / name, json.dumps(clean, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class RunReader:
    """A run directory that is only read."""

    path: Path

    def manifest(self) -> Row:
        """The manifest."""
        return dict(json.loads((self.path / MANIFEST).read_text(encoding="utf-8")))

    def summary(self) -> Row | None:
        """The summary, or None while the run has not ended."""
        path = self.path / "summary.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def updates(self) -> list[Row]:
        """The rows of updates.jsonl, row 0 first."""
        return _read_lines(self.path / UPDATES)

    def samples(self) -> list[Row]:
        """The rows of samples.jsonl."""
        return _read_lines(self.path / SAMPLES)


def find_runs(folder: Path) -> list[RunReader]:
    """Return the run directories in a folder (itself included), in path order."""
    found = [path.parent for path in sorted(folder.rglob(MANIFEST))]
    return [RunReader(path) for path in found if (path / UPDATES).is_file()]


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside its place and rename it there."""
    with writing(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _append_line(path: Path, line: str) -> None:
    with writing(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(line + "\n")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure of the disk into an error that names the place."""
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"{path} cannot be written: {error.strerror or error}\n"
            "  fix       make room or choose another --out; what was recorded stays"
        ) from error


def _read_lines(path: Path) -> list[Row]:
    """Read the rows of a file; a last line without its end was never completed."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]
