"""`collapse-lm export`: runs, updates and samples of any number of runs, in typed files."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from collapse_lm._util.files import appearing, write_atomically, writing
from collapse_lm._version import __version__
from collapse_lm.analysis.export.columns import (
    SAMPLES,
    SCHEMA,
    Column,
    Values,
    run_columns,
    update_columns,
)
from collapse_lm.analysis.export.writers import open_table, require_format
from collapse_lm.analysis.frames import run_row
from collapse_lm.errors import UserError
from collapse_lm.rundir import RunReader, find_runs
from collapse_lm.rundir.frames import reading, sample_rows, update_rows

Part = Callable[[], Iterable[Values]]  # reads the rows of one run


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: of the tables, and schema.json.
        rows: of each table, by its name.
        left_out: runs that could not be read, by name, with the reason.
    """

    files: tuple[Path, ...]
    rows: dict[str, int]
    left_out: dict[str, str]


@dataclass(frozen=True)
class _Run:
    name: str
    reader: RunReader
    row: Values
    names: dict[str, bool]


def export_runs(folder: Path, kind: str, out: Path) -> Exported:
    """Write runs.KIND, updates.KIND, samples.KIND and schema.json; earlier ones are replaced.

    Args:
        folder: a run directory, a sweep, or any folder that holds runs.
        kind: csv, jsonl or parquet.
        out: made where it does not exist.

    Raises:
        UserError: for another format, parquet without pyarrow, and a folder without a run
            that can be read.
        MachineError: where the disk does not take a file.
    """
    require_format(kind)
    runs, left_out = _read(folder)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    told = _write_tables(runs, kind, out)
    schema: dict[str, Any] = {
        "schema": SCHEMA,
        "version": __version__,
        "format": kind,
        "tables": told,
    }
    schema["left_out"] = [{"run": name, "reason": why} for name, why in left_out.items()]
    write_atomically(out / "schema.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    files = (*(out / table["file"] for table in told.values()), out / "schema.json")
    return Exported(files, {name: table["rows"] for name, table in told.items()}, left_out)


def _read(folder: Path) -> tuple[list[_Run], dict[str, str]]:
    """The runs below a folder that can be read, and the others with the reason."""
    readers = find_runs(folder) if folder.is_dir() else []
    found, left_out = list[_Run](), dict[str, str]()
    for reader in readers:
        name = reader.path.relative_to(folder).as_posix()
        try:
            with reading(reader):
                found.append(_run(name, reader))
        except UserError as error:
            left_out[name] = error.problems[0].got
    if not found:
        got = f"{folder}: {next(iter(left_out.values()))}" if left_out else str(folder)
        expected = "a run, a sweep, or a folder that holds runs"
        raise UserError.single("export", got, expected, "`collapse-lm ls DIR` lists them")
    return found, left_out


def _run(name: str, reader: RunReader) -> _Run:
    names: dict[str, bool] = {}
    for row in reader.updates():
        for key, value in row.values.items():
            names[key] = names.get(key, True) and isinstance(value, int)
    reader.samples()  # read for what may be wrong with it
    return _Run(name, reader, run_row(name, reader), names)


def _write_tables(runs: Sequence[_Run], kind: str, out: Path) -> dict[str, dict[str, Any]]:
    names: dict[str, bool] = {}
    for run in runs:
        for name, is_whole in run.names.items():
            names[name] = names.get(name, True) and is_whole
    rows = [run.row for run in runs]
    return {
        "runs": _write_table("runs", run_columns(rows), [lambda: rows], kind, out),
        "updates": _write_table(
            "updates", update_columns(names), [_updates(run) for run in runs], kind, out
        ),
        "samples": _write_table("samples", SAMPLES, [_samples(run) for run in runs], kind, out),
    }


def _updates(run: _Run) -> Part:
    return lambda: ({"run": run.name, **row} for row in update_rows(run.reader))


def _samples(run: _Run) -> Part:
    return lambda: ({"run": run.name, **row} for row in sample_rows(run.reader, per_token=True))


def _write_table(
    name: str, columns: Sequence[Column], parts: Sequence[Part], kind: str, out: Path
) -> dict[str, Any]:
    """Write a table, and tell its schema."""
    path = out / f"{name}.{kind}"
    with appearing(path) as temporary:
        table = open_table(kind, temporary, columns)
        try:
            for part in parts:
                table.add(part())
        finally:
            table.close()
    told = [asdict(column) for column in columns]
    return {"file": path.name, "rows": table.rows, "columns": told}
