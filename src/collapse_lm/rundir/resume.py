"""May this run go on, from where, and is it still the same run?

Reads a run directory that any process may have left at any instant, or that a
stranger handed over, and names whatever is wrong with it. Changes nothing on disk; no
torch (whether model and text are the same, `manifest` checks).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from collapse_lm.config import LENGTH, Config, flat, identity, load_config
from collapse_lm.errors import Problem, UserError
from collapse_lm.measures.rule import CollapseRule
from collapse_lm.rundir import RecordError, RunReader, summarize
from collapse_lm.rundir.layout import CONFIG, MANIFEST, ROW_FILES, SUMMARY, holds_run
from collapse_lm.rundir.rows import Row


@dataclass(frozen=True)
class Resumable:
    """A run directory that was read without finding fault.

    Attributes:
        path: the run directory.
        config: with `run.max_updates` as it shall be from now on.
        manifest: as it was written.
        is_over: true where nothing is left to do.
    """

    path: Path
    config: Config
    manifest: Row
    is_over: bool


def read_run(path: Path, overrides: Iterable[str] = ()) -> Resumable:
    """Read what `resume` needs to know of a run.

    Raises:
        UserError: for a path that holds no run, for anything damaged, and for an
            override that would make it another run.
    """
    with damage(path):
        _require_run(path)
    with damage(path / MANIFEST):
        manifest = RunReader(path).manifest()
        status, digest = manifest["status"], manifest["config_sha256"]
    before = load_config(path / CONFIG)
    if identity(before) != digest or before.seed != manifest["seed"]:
        raise _damaged(path / CONFIG, "a configuration that is not the one of the run")
    config = load_config(path / CONFIG, overrides)
    _refuse_changes(before, config)
    with damage(path):
        if status in {"finished", "diverged"}:
            RunReader(path).check_end()  # any other may have been ended at any instant
        rows = RunReader(path).updates()
        rule = CollapseRule(**config.collapse.model_dump(exclude={"stop", "aftermath"}))
        collapsed = bool(summarize(rows, rule, str(status))["collapsed"])
        done = int(rows[-1]["update"]) if rows else 0
    if config.run.max_updates < min(done, before.run.max_updates):
        raise UserError.single(
            LENGTH, config.run.max_updates, f"at least {done}, the updates already recorded"
        )
    stopped = collapsed and config.collapse.stop
    is_over = status == "diverged" or (
        status == "finished" and (stopped or done >= config.run.max_updates)
    )
    return Resumable(path, config, manifest, is_over)


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
    for name in (CONFIG, MANIFEST, SUMMARY, *ROW_FILES, "samples.md"):
        if (path / name).exists() and not (path / name).is_file():
            raise _damaged(path / name, "no regular file")
    for name in ("checkpoints", "figures", "model"):
        if (path / name).exists() and not (path / name).is_dir():
            raise _damaged(path / name, "no folder")


def _refuse_changes(before: Config, after: Config) -> None:
    """Allow nothing to change but the length of the run."""
    old, new = flat(before), flat(after)
    problems = [
        Problem(key, repr(new[key]), f"{old[key]!r}, as the run began", "start a new run for it")
        for key in old
        if old[key] != new[key] and key != LENGTH
    ]
    if problems:
        raise UserError(problems)


def overrides_to(path: Path, config: Config) -> list[str]:
    """The overrides that make the configuration of a run the one given.

    Raises:
        UserError: where the two differ in more than the length of the run.
    """
    _refuse_changes(load_config(path / CONFIG), config)
    return [f"{LENGTH}={config.run.max_updates}"]


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn whatever a damaged record makes Python raise into an error that names it."""
    try:
        yield
    except RecordError as error:
        raise _damaged(path, str(error)) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    except RecursionError:
        raise _damaged(path, "JSON that is nested too deeply") from None


def _damaged(path: Path, what: str) -> UserError:
    return UserError.single(
        str(path), what, "what collapse-lm wrote", "restore the file, or start a new run"
    )


def samples_to_replay(rows: Sequence[Row]) -> Iterator[list[list[int]]]:
    """The token ids of the samples of every recorded update, in order."""
    for row in rows:
        yield [[int(token) for token in ids] for ids in row["ids"]]
