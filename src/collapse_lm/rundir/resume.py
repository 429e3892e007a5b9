"""May this run go on, from where, and is it still the same run?

Reads a run directory that any process may have left at any instant, or that a
stranger handed over, and names whatever is wrong with it. Changes nothing on disk; no
torch (whether model and text are the same, `manifest` checks).
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_lm.config import (
    LENGTH,
    Config,
    decides_numbers,
    field_of,
    flat,
    identity,
    identity_1,
    load_config,
)
from collapse_lm.config.precision import PHASES, by_phase
from collapse_lm.errors import Problem, UserError
from collapse_lm.rundir.layout import (
    CONFIG,
    MANIFEST,
    PAGE,
    REPORT,
    ROW_FILES,
    SUMMARY,
    holds_run,
)
from collapse_lm.rundir.reader import RunReader, Snapshot
from collapse_lm.rundir.rows import has_gaps
from collapse_lm.rundir.shape import RecordError
from collapse_lm.rundir.summary import sum_up


@dataclass(frozen=True)
class Resumable:
    """A run directory that was read without finding fault.

    Attributes:
        path: the run directory.
        config: as it shall be from now on.
        manifest: as it was written.
        snapshot: the rows, as they were read.
        is_over: true where nothing is left to do.
    """

    path: Path
    config: Config
    manifest: dict[str, Any]
    snapshot: Snapshot
    is_over: bool


def read_run(path: Path, overrides: Iterable[str] = ()) -> Resumable:
    """Read what `resume` needs to know of a run; each file of rows is read once.

    Raises:
        UserError: for a path that holds no run, for anything damaged, and for an
            override that would make it another run.
    """
    with damage(path):
        _require_run(path)
    with damage(path / MANIFEST):
        manifest = RunReader(path).manifest()
        status, digest = manifest["status"], manifest["config_sha256"]
    if has_gaps(manifest):
        raise UserError.single(
            str(path),
            f"a record of the {manifest['made_by']}, which no training is kept in",
            "a run of this package's own",
            "go on with the training itself; a new monitor makes a new record",
        )
    before = load_recorded(path)
    recorded = by_phase(manifest["precision"])
    if any(getattr(before.precision, phase) not in ("auto", recorded[phase]) for phase in PHASES):
        raise _damaged(path / MANIFEST, "another precision than the configuration's")
    known = identity_1(before) if manifest["format_version"] == 1 else identity(before)
    if known != digest or before.seed != manifest["seed"]:
        raise _damaged(path / CONFIG, "a configuration that is not the one of the run")
    config = load_config(path / CONFIG, overrides)
    _refuse_changes(before, config)
    with damage(path):
        snapshot = RunReader(path).snapshot()
        if status in {"finished", "diverged"}:
            RunReader(path).check_end(snapshot)  # any other may have been ended at any instant
        summing = sum_up(snapshot.rows, config.collapse)
        done = snapshot.rows[-1].update if snapshot.rows else 0
    if config.run.max_updates < min(done, before.run.max_updates):
        raise UserError.single(
            LENGTH, config.run.max_updates, f"at least {done}, the updates already recorded"
        )
    is_stopped = summing.is_stopped(done, before.run.max_updates, config.collapse)
    is_at_end = is_stopped or done >= config.run.max_updates or _is_out_of_time(manifest, config)
    is_over = status == "diverged" or (status == "finished" and is_at_end)
    return Resumable(path, config, manifest, snapshot, is_over)


def _is_out_of_time(manifest: dict[str, Any], config: Config) -> bool:
    limit = config.run.max_minutes
    return limit is not None and float(manifest.get("seconds", 0)) >= 60 * limit


def load_recorded(path: Path) -> Config:
    """The configuration of a run without its observers, whose packages may be gone."""
    return load_config(path / CONFIG, ["observers=[]"])


def _require_run(path: Path) -> None:
    if not holds_run(path):
        got = "a folder without manifest.json" if path.is_dir() else "no such folder"
        fix = (
            "`collapse-lm ls DIR` lists the runs in a folder; a run that was killed before its "
            "first row is started again with `collapse-lm run ... --out`"
        )
        raise UserError.single(str(path), got, "a run directory", fix)
    for item in (*path.iterdir(), *(path / "figures").glob("*")):
        if item.is_symlink():  # what is written there could overwrite any file
            raise _damaged(item, "a link, which may lead out of the run directory")
    for name in (CONFIG, MANIFEST, *ROW_FILES):
        if not os.path.lexists(path / name):
            raise _damaged(path / name, "missing")
    for name in (CONFIG, MANIFEST, SUMMARY, *ROW_FILES, PAGE, REPORT):
        if (path / name).exists() and not (path / name).is_file():
            raise _damaged(path / name, "no regular file")
    for name in ("checkpoints", "figures", "model"):
        if (path / name).exists() and not (path / name).is_dir():
            raise _damaged(path / name, "no folder")


def may_change(key: str) -> bool:
    """True for a key that decides no number, and so may change when a run is resumed."""
    parts = key.split(".")
    places = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    fields = [field for field in map(field_of, places) if field is not None]
    return any(not decides_numbers(field) for field in fields)


def _refuse_changes(before: Config, after: Config) -> None:
    """Allow nothing to change that decides a number."""
    old, new = flat(before), flat(after)
    problems = [
        Problem(key, repr(new.get(key)), f"{old.get(key)!r}, as the run began", "start a new run")
        for key in {**old, **new}
        if old.get(key) != new.get(key) and not may_change(key)
    ]
    if problems:
        raise UserError(problems)


def overrides_to(path: Path, config: Config) -> list[str]:
    """The overrides that make the configuration of a run the one given.

    Raises:
        UserError: where the two differ in what decides a number.
    """
    before = load_recorded(path)
    _refuse_changes(before, config)
    old, new = flat(before), flat(config)
    return [f"{key}={json.dumps(new[key])}" for key in new if new[key] != old.get(key)]


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn whatever a damaged record makes Python raise into an error that names it."""
    try:
        yield
    except RecordError as error:
        raise _damaged(path, str(error)) from error
    except PermissionError as error:
        raise UserError.single(
            str(error.filename or path),
            str(error.strerror),
            "a run directory that can be read and written",
            "get the permission, or copy the run",
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    except RecursionError:
        raise _damaged(path, "JSON that is nested too deeply") from None


def _damaged(path: Path, what: str) -> UserError:
    return UserError.single(
        str(path), what, "what collapse-lm wrote", "restore the file, or start a new run"
    )
