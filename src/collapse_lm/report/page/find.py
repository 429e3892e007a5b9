"""Which runs lie below some paths, and which of them can be read."""

import os
from collections.abc import Sequence
from pathlib import Path

from collapse_lm.errors import UserError
from collapse_lm.report.page.feed import RunFeed, read_feed
from collapse_lm.rundir import RecordError, RunReader, find_runs

UNREADABLE = (RecordError, UserError, OSError)


def read_runs(paths: Sequence[Path]) -> tuple[list[RunFeed], dict[Path, str]]:
    """Every run below some paths in path order, and those that cannot be read with the reason.

    Raises:
        UserError: for a path that is not there.
    """
    feeds, left_out = list[RunFeed](), dict[Path, str]()
    for reader in readers_of(paths):
        try:
            feeds.append(read_feed(reader.path))
        except UNREADABLE as error:
            left_out[reader.path] = reason_of(error)
    return feeds, left_out


def no_runs(paths: Sequence[Path]) -> UserError:
    """The error of paths that hold no run."""
    return UserError.single(
        ", ".join(map(str, paths)) or "PATH",
        "no run",
        "a run directory, or a folder that holds some",
        "`collapse-lm ls DIR` lists the runs in a folder; without --out, runs are in runs/",
    )


def readers_of(paths: Sequence[Path]) -> list[RunReader]:
    """Every run below some paths, each once.

    Raises:
        UserError: for a path that is not there.
    """
    found: dict[Path, RunReader] = {}
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for a name too long)
            is_there = os.path.lexists(path)
            got = "a file" if is_there else "no such folder"
            expected = "a run directory, or a folder that holds some"
            raise UserError.single(str(path), got, expected, "`collapse-lm ls DIR` lists runs")
        for reader in find_runs(path):
            place = Path(os.path.abspath(reader.path))  # noqa: PTH100 (keeps links)
            found.setdefault(place, RunReader(place))
    return list(found.values())


def common_root(places: Sequence[Path]) -> Path:
    """The nearest folder that holds all run directories."""
    parents = {place.parent for place in places}
    return Path(os.path.commonpath(parents)) if parents else Path()


def reason_of(error: Exception) -> str:
    """Why a run cannot be shown, in words."""
    if isinstance(error, UserError):
        problem = error.problems[0]
        return f"damaged: {problem.where}: {problem.got}"
    if isinstance(error, OSError):
        return f"not readable: {Path(str(error.filename)).name}: {error.strerror}"
    return f"damaged: {error}"
