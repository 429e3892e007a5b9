"""The shell of a run: configuration -> parts -> loop -> run directory.

The only place where the loop meets the disk. Everything that can be wrong with the
input is found before the directory is made. Knows nothing of the command line.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collapse_lm.config import Config, load_config, to_yaml
from collapse_lm.loop import self_train
from collapse_lm.manifest import describe
from collapse_lm.parts import prepare
from collapse_lm.records import RunDirectory, UpdateRecord, summarize
from collapse_lm.records.schema import Row
from collapse_lm.report import write_first_pictures

Observer = Callable[[UpdateRecord], None]


@dataclass(frozen=True)
class RunResult:
    """A run that ended: its directory and its summary."""

    directory: Path
    summary: dict[str, Any]


def run(
    config: Config | str | Path,
    out: Path | str | None = None,
    *,
    overrides: Iterable[str] = (),
    observers: Sequence[Observer] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Do one run and leave its record on disk.

    Args:
        config: a configuration, the name of a preset, or the path of a YAML file.
        out: the run directory; by default runs/NAME-seedN-TIME below the current folder.
        overrides: `key=value` strings, for a name or path.
        observers: called with every record after it is on disk.
        should_stop: asked after every update; true ends the run as interrupted.

    Raises:
        UserError: for bad input, before anything was created.
        MachineError: when the disk fails; what was recorded stays.
    """
    name = "run" if isinstance(config, Config) else Path(config).stem
    settings = config if isinstance(config, Config) else load_config(config, overrides)
    path = Path(out) if out is not None else default_directory(name, settings.seed)
    RunDirectory.check_free(path)
    parts = prepare(settings)
    manifest = describe(settings, parts)
    directory = RunDirectory.create(path, to_yaml(settings), manifest)
    begin, status, rows = time.perf_counter(), "failed", list[Row]()
    try:
        records = self_train(parts.state, parts.experiment)
        status = _follow(records, directory, rows, observers, should_stop)
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        summary = summarize(rows, parts.experiment.rule, status)
        directory.write_json("summary.json", summary)
        seconds = round(time.perf_counter() - begin, 3)
        directory.write_json("manifest.json", {**manifest, "status": status, "seconds": seconds})
    write_first_pictures(path)
    return RunResult(path, summary)


def _follow(
    records: Iterable[UpdateRecord],
    directory: RunDirectory,
    rows: list[Row],
    observers: Sequence[Observer],
    should_stop: Callable[[], bool],
) -> str:
    """Put every record on disk and show it; return how the run ended."""
    for record in records:
        directory.append(record)
        rows.append(record.row())
        for observe in observers:
            observe(record)
        if not record.applied:
            return "diverged"
        if should_stop():
            return "interrupted"
    return "finished"


def default_directory(name: str, seed: int) -> Path:
    """A new place for a run: runs/NAME-seedN-TIME."""
    return Path("runs") / f"{name}-seed{seed}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
