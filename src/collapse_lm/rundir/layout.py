"""The run directory: the names of what is in it, and its process that writes it.

    config.yaml  manifest.json  updates.jsonl  samples.jsonl  summary.json
    checkpoints/  figures/  samples.md  report.html (run.report)
    model/ (run.export_model)  trackers/ (run.trackers)

The record is the truth: figures and reports only read it. The two .jsonl files are
append-only; only a resume cuts them, back to the checkpoint that it starts from.
Knows nothing of models.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from collapse_lm._util.files import read_regular, write_atomically, writing
from collapse_lm._util.json_text import to_json
from collapse_lm.errors import UserError

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
UPDATES = "updates.jsonl"
SAMPLES = "samples.jsonl"
SUMMARY = "summary.json"
PAGE = "samples.md"
REPORT = "report.html"
FIGURES = "figures"
TRACKERS = "trackers"
MODEL = "model"
LOCK = ".lock"
ROW_FILES = (UPDATES, SAMPLES)
_PICTURES = {f"losses.{kind}" for kind in ("svg", "png", "pdf")}


@dataclass(frozen=True)
class RunDirectory:
    """A run directory that one process writes."""

    path: Path

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Refuse a place that already holds something; a run that learnt nothing does not count.

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
        got, fix = "a path already in use", "choose another --out"
        if holds_run(path):
            got = "a folder that already holds a run"
            fix = f"`collapse-lm resume {path}` goes on with it, and so does --resume; or {fix}"
        raise UserError.single(f"--out {path}", got, "a new or empty folder", fix)

    @classmethod
    def create(cls, path: Path, config_yaml: str, manifest: Mapping[str, Any]) -> "RunDirectory":
        """Fill an empty directory; the manifest, which makes it a run, comes last.

        One whose run failed before its first update is emptied before.
        """
        cls.check_free(path)
        directory = cls(path)
        directory.clean()
        with writing(path):  # at any instant it is the failed run still, or the new one
            for name in (SUMMARY, PAGE, REPORT):
                (path / name).unlink(missing_ok=True)
            for picture in (path / FIGURES).glob("*"):
                picture.unlink()
            shutil.rmtree(path / TRACKERS, ignore_errors=True)
        for name in ROW_FILES:
            write_atomically(path / name, "")
        write_atomically(path / CONFIG, config_yaml)
        directory.write_json(MANIFEST, manifest)
        return directory

    def clean(self) -> None:
        """Remove what a killed process left half-written."""
        for leftover in _leftovers(self.path):
            leftover.unlink(missing_ok=True)

    def cut(self, content: Mapping[str, bytes]) -> None:
        """Drop the rows past the content given."""
        for name, kept in content.items():
            with writing(self.path / name), (self.path / name).open("ab") as file:
                file.truncate(len(kept))

    def write_json(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Write a JSON file as a whole or not at all; return what a reader will find in it."""
        clean: dict[str, Any] = json.loads(to_json(value))
        write_atomically(self.path / name, json.dumps(clean, indent=2, ensure_ascii=False) + "\n")
        return clean


def make_directory(name: str, seed: int) -> Path:
    """Make a new place for a run: runs/NAME-seedN-TIME, with -2, -3, ... where that is taken.

    Raises:
        MachineError: where no folder can be made.
    """
    first = Path("runs") / f"{name}-seed{seed}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with writing(first):
        first.parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = first if number == 1 else first.with_name(f"{first.name}-{number}")
            with suppress(FileExistsError):  # another process has been quicker
                path.mkdir()
                return path
    raise AssertionError("there are more numbers")


def holds_run(path: Path) -> bool:
    """True for a run directory, in whatever state it is."""
    return os.path.lexists(path / MANIFEST)


def _is_unused(path: Path) -> bool:
    """True for an empty folder, also for one whose run was killed before it began.

    And where it failed before its first update, by a part of its own, say, that is mended now.
    """
    found = {item.name for item in path.iterdir()} - {LOCK}
    found -= {item.name for item in _leftovers(path)}
    if _has_failed_at_once(path):
        found -= {CONFIG, MANIFEST, SUMMARY, PAGE, REPORT, TRACKERS, *ROW_FILES}
        is_link = (path / FIGURES).is_symlink()
        is_ours = not is_link and {item.name for item in (path / FIGURES).glob("*")} <= _PICTURES
        return found <= ({FIGURES} if is_ours else set())
    if not found:
        return True
    has_begun = any((path / name).stat().st_size for name in found & set(ROW_FILES))
    return not has_begun and (found <= set(ROW_FILES) or found == {*ROW_FILES, CONFIG})


def _has_failed_at_once(path: Path) -> bool:
    """True for a run that failed with no row but the base model's."""
    try:
        status = json.loads(read_regular(path / MANIFEST))["status"]
        rows = read_regular(path / UPDATES).splitlines()
        is_base = not rows or json.loads(rows[0])["update"] == 0
        has_samples = (path / SAMPLES).stat().st_size > 0
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return status == "failed" and len(rows) <= 1 and is_base and not has_samples


def _leftovers(path: Path) -> list[Path]:
    """Files that a process was killed while writing (see `write_atomically`)."""
    names = (CONFIG, MANIFEST, SUMMARY, *ROW_FILES, PAGE, REPORT)
    return [item for name in names for item in path.glob(f".{name}-*")]
