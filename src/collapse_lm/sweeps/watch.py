"""How far the runs of a sweep are, again and again, while others write them.

What a look costs depends on the number of runs, not on that of their rows: a run whose
files did not change is not read again, and of one that did only the end is read.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from collapse_lm.rundir import has_writer
from collapse_lm.rundir.layout import MANIFEST, SUMMARY, UPDATES
from collapse_lm.sweeps.folder import SweepFolder
from collapse_lm.sweeps.plan import PlannedRun
from collapse_lm.sweeps.progress import RunProgress, State, glance_at

Mark = tuple[tuple[int, int] | None, ...]  # size and time of each file, None where it is missing


@dataclass(frozen=True)
class _Seen:
    """What was found, and how the files looked then."""

    progress: RunProgress
    mark: Mark


class Watch:
    """Looks at the runs of a plan.

    Args:
        folder: of the sweep.
        known: how far each run is, as read with all its rows (`SweepFolder.progress`).
    """

    def __init__(
        self, folder: SweepFolder, known: Iterable[tuple[PlannedRun, RunProgress]]
    ) -> None:
        self._folder = folder
        self._runs: list[PlannedRun] = []
        self._seen: dict[str, _Seen] = {}
        for run, progress in known:
            self._runs.append(run)
            # Damage that only a whole reading finds stays told until a file changes; any other
            # run may have gone on since it was read.
            is_damaged = progress.state == "damaged"
            mark = _mark(folder.run_path(run)) if is_damaged else ()
            self._seen[run.name] = _Seen(progress, mark)

    def look(self) -> list[tuple[PlannedRun, RunProgress]]:
        """How far every run is now, in the order of the plan."""
        return [(run, self._progress(run)) for run in self._runs]

    def _progress(self, run: PlannedRun) -> RunProgress:
        seen = self._seen[run.name]
        if seen.progress.state == "done":  # for good
            return seen.progress
        path = self._folder.run_path(run)
        mark = _mark(path)
        if mark != seen.mark:
            seen = _Seen(glance_at(run, path), mark)
        elif seen.progress.state in {"running", "unfinished"}:  # it may have got or lost its writer
            state: State = "running" if has_writer(path) else "unfinished"
            seen = replace(seen, progress=replace(seen.progress, state=state))
        self._seen[run.name] = seen
        return seen.progress


def _mark(path: Path) -> Mark:
    return tuple(_size_and_time(path / name) for name in (MANIFEST, UPDATES, SUMMARY))


def _size_and_time(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
