"""The runs below a folder, and which of them changed since the last look.

A look costs a walk over names and a few stats per run, however many rows there are. What a
link would bring in from outside the folder is refused, whatever it is.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from collapse_lm._util.files import is_inside
from collapse_lm.rundir import find_runs, has_writer
from collapse_lm.rundir.layout import CONFIG, MANIFEST, SAMPLES, SUMMARY, UPDATES
from collapse_lm.view.glance import RUNNING, Glance, glance_at

Kind = Literal["folder", "sweep", "run"]
Mark = tuple[tuple[int, int, int] | None, ...]  # inode, size and time of each file
OF_A_RUN = (CONFIG, MANIFEST, UPDATES, SAMPLES, SUMMARY)
OF_A_SWEEP = ("sweep.yaml", "calls.jsonl")  # one of them is in its folder, or a reproduction's
_READ_OF_A_SWEEP = (*OF_A_SWEEP, "claims.json", "effects.json")
OUTSIDE = "a link that leads out of the folder"


@dataclass(frozen=True)
class Place:
    """What has a page of its own.

    Attributes:
        name: of the place below the folder, with slashes; empty for the folder itself.
        path: of it.
        kind: what it is.
        runs: the run directories in it, in path order.
    """

    name: str
    path: Path
    kind: Kind
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class _Seen:
    mark: Mark
    is_written: bool
    glance: Glance


class Folder:
    """A folder that is looked at again and again.

    Args:
        path: of the folder.

    Attributes:
        path: the same, its links followed.
        places: by name, as of the last look.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self.places: Mapping[str, Place] = {}
        self._seen: dict[Path, _Seen] = {}

    def look(self) -> set[Path]:
        """Look at all runs; return those that changed, came or went."""
        before = self._seen
        self._seen = {reader.path: self._see(reader.path) for reader in find_runs(self.path)}
        self.places = _places(self.path, sorted(self._seen))
        everywhere = self._seen.keys() | before.keys()
        return {path for path in everywhere if self._seen.get(path) != before.get(path)}

    def _see(self, path: Path) -> _Seen:
        mark, before = _mark(path), self._seen.get(path)
        is_known = before is not None and before.mark == mark
        # A process that was killed changes no file.
        is_written = _may_run(before) and has_writer(path) if is_known else has_writer(path)
        if is_known and before is not None and before.is_written == is_written:
            return before
        reason = self.refusal(path)
        return _Seen(mark, is_written, Glance(reason) if reason else glance_at(path))

    def glance(self, path: Path) -> Glance:
        """How far a run was at the last look, which may have come while a list is written."""
        seen = self._seen.get(path)
        return seen.glance if seen else Glance("removed")

    def refusal(self, path: Path) -> str:
        """Why a run, or a folder of runs, is not read; empty where it is."""
        links = [n for n in (*OF_A_RUN, *_READ_OF_A_SWEEP) if (path / n).is_symlink()]
        is_out = any(not is_inside(path / name, self.path) for name in links)
        return OUTSIDE if is_out or not is_inside(path, self.path) else ""


def _may_run(seen: _Seen | None) -> bool:
    return seen is not None and seen.glance.status == RUNNING


def _mark(path: Path) -> Mark:
    return tuple(_identity(path / name) for name in OF_A_RUN)


def _identity(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _places(root: Path, runs: list[Path]) -> dict[str, Place]:
    """The folder, the sweeps in it, and every run, by name."""
    sweeps: dict[Path, list[Path]] = {}
    is_sweep: dict[Path, bool] = {}
    for run in runs:
        for parent in run.parents:
            if not parent.is_relative_to(root):
                break
            if parent not in is_sweep:
                is_sweep[parent] = any((parent / name).is_file() for name in OF_A_SWEEP)
            if is_sweep[parent]:
                sweeps.setdefault(parent, []).append(run)
    found = [Place("", root, "folder", tuple(runs))]
    found += [Place(_name(p, root), p, "sweep", tuple(of)) for p, of in sorted(sweeps.items())]
    found += [Place(_name(run, root), run, "run", (run,)) for run in runs]
    return {place.name: place for place in found}


def _name(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    return "" if name == "." else name
