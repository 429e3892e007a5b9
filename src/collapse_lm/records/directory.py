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
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collapse_lm.errors import MachineError, UserError
from collapse_lm.records.schema import Row, UpdateRecord, to_json

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
        if not path.exists() or (path.is_dir() and _is_unused(path)):
            return
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

    def holds(self, lengths: Lengths) -> bool:
        """True while the files still begin with the bytes that `flush` saw."""
        for name in ROW_FILES:
            path, seen = self.path / name, lengths[name]
            start = path.read_bytes()[: seen["bytes"]] if path.is_file() else b""
            if hashlib.sha256(start).hexdigest() != seen["sha256"]:
                return False
        return True

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
    """A run directory that is only read."""

    path: Path

    def manifest(self) -> Row:
        """The manifest."""
        return dict(json.loads((self.path / MANIFEST).read_text(encoding="utf-8")))

    def summary(self) -> Row | None:
        """The summary, or None while the run has not ended."""
        path = self.path / SUMMARY
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def updates(self) -> list[Row]:
        """The rows of updates.jsonl, row 0 first."""
        return _read_lines(self.path / UPDATES)

    def samples(self) -> list[Row]:
        """The rows of samples.jsonl."""
        return _read_lines(self.path / SAMPLES)


def default_directory(name: str, seed: int) -> Path:
    """A new place for a run: runs/NAME-seedN-TIME."""
    return Path("runs") / f"{name}-seed{seed}-{datetime.now(UTC):%Y%m%dT%H%M%S}"


def holds_run(path: Path) -> bool:
    """True for a run directory, in whatever state it is."""
    return (path / MANIFEST).exists()


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
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk itself, where the system can."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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


@contextmanager
def writing(path: Path, *also: type[Exception]) -> Iterator[None]:
    """Turn a failure of the disk (an OSError, or one of `also`) into one that names the place."""
    failures: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except failures as error:
        raise MachineError(
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}\n"
            "  fix       make room, then `collapse-lm resume` the run; what was recorded stays"
        ) from error


def _read_lines(path: Path) -> list[Row]:
    """Read the rows of a file; a last line without its end was never completed."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]
