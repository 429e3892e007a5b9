"""`collapse_lm.tables`: everything that a folder of runs recorded, as tables."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from collapse_lm.config.identity import flat_values
from collapse_lm.config.load import read_yaml
from collapse_lm.errors import UserError
from collapse_lm.rundir import RunReader, find_runs
from collapse_lm.rundir.frames import (
    TableRow,
    frame,
    has_pandas,
    reading,
    sample_rows,
    update_rows,
)
from collapse_lm.rundir.layout import CONFIG


def tables(folder: Path | str) -> dict[str, Any]:
    """Read every run in a folder (itself included) into three tables in long form.

    runs: a row per run, with `run` (its path below the folder), how it ended, the validation
    losses of its summary (`validation_CORPUS_start`, `_collapse`, `_end`, as in a sweep's
    runs.csv), and a column per configuration key. updates: a row per update, with `run`,
    `update` and a column per name of docs/run-format.md. samples: a row per text, with `run`,
    `update`, `role` (trained on, or a probe drawn apart), `number`, `origin`, `prompt`, `text`,
    `tokens`.

    Args:
        folder: of runs or sweeps, or a single run directory.

    Returns:
        By name, pandas data frames where pandas is installed, else lists of dictionaries.

    Raises:
        UserError: for a path that is no folder, holds no run, or a run that is damaged.
    """
    place = Path(folder)
    readers = find_runs(place) if place.is_dir() else []
    if not readers:
        raise UserError.single(
            "tables", str(folder), "a folder that holds runs", "`collapse-lm ls DIR` lists them"
        )
    rows: dict[str, list[TableRow]] = {"runs": [], "updates": [], "samples": []}
    for reader in readers:
        name = reader.path.relative_to(place).as_posix()
        with reading(reader):
            rows["runs"].append(run_row(name, reader))
            rows["updates"] += _named(name, update_rows(reader))
            rows["samples"] += _named(name, sample_rows(reader))
    return _framed(rows)


def run_row(name: str, reader: RunReader) -> TableRow:
    """The row of the table of runs: how one ended, and its configuration by dotted key."""
    manifest, summary = reader.manifest(), reader.summary() or {}
    ending = {
        key: summary.get(key)
        for key in (
            *("collapsed", "collapse_update", "collapse_after", "degenerate_before_training"),
            *("updates", "reason"),
        )
    }
    facts = {"run": name, "status": manifest["status"], **ending, **_validation(summary)}
    return {**facts, **flat_values(read_yaml(str(reader.path / CONFIG)))}


def _validation(summary: Mapping[str, Any]) -> TableRow:
    """Validation losses at the start, from the collapse on, and at the end, in nats per token."""
    moments = summary.get("validation", {})
    return {
        f"validation_{corpus}_{moment}": loss
        for moment, losses in moments.items()
        for corpus, loss in (losses or {}).items()
        if corpus != "update"
    }


def _named(name: str, rows: Iterable[TableRow]) -> Iterator[TableRow]:
    return ({"run": name, **row} for row in rows)


def _framed(rows: dict[str, list[TableRow]]) -> dict[str, Any]:
    return {name: frame(table) if has_pandas() else table for name, table in rows.items()}
