"""`collapse_lm.tables`: everything that a folder of runs recorded, as tables."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from collapse_lm.config.identity import flat_values
from collapse_lm.config.load import read_yaml
from collapse_lm.errors import UserError
from collapse_lm.rundir import RunReader, find_runs
from collapse_lm.rundir.layout import CONFIG
from collapse_lm.rundir.shape import RecordError

TableRow = dict[str, Any]


def tables(folder: Path | str) -> dict[str, Any]:
    """Read every run in a folder (itself included) into three tables in long form.

    runs: a row per run, with `run` (its path below the folder), how it ended, and a column
    per configuration key. updates: a row per update, with `run`, `update` and a column per
    name of docs/run-format.md. samples: a row per text, with `run`, `update`, `origin`,
    `role` (trained on, or a probe drawn apart), `text`, `tokens`.

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
        try:
            rows["runs"].append(_run_row(name, reader))
            rows["updates"] += _update_rows(name, reader)
            rows["samples"] += _sample_rows(name, reader)
        except (RecordError, OSError) as error:
            raise UserError.single(str(reader.path), str(error), "a run that is whole") from error
    return _framed(rows)


def _run_row(name: str, reader: RunReader) -> TableRow:
    manifest, summary = reader.manifest(), reader.summary() or {}
    ending = {
        key: summary.get(key) for key in ("collapsed", "collapse_update", "updates", "reason")
    }
    facts = {"run": name, "status": manifest["status"], **ending}
    return {**facts, **flat_values(read_yaml(str(reader.path / CONFIG)))}


def _update_rows(name: str, reader: RunReader) -> Iterator[TableRow]:
    for row in reader.updates():
        yield {"run": name, "update": row.update, **row.values}


def _sample_rows(name: str, reader: RunReader) -> Iterator[TableRow]:
    for row in reader.samples():
        for role, texts in (("trained on", row.texts), ("probe", row.probe)):
            for text in texts:
                facts = {"run": name, "update": row.update, "origin": text.origin, "role": role}
                yield {**facts, "text": text.text, "tokens": len(text.ids)}


def _framed(rows: dict[str, list[TableRow]]) -> dict[str, Any]:
    if find_spec("pandas") is None:
        return dict(rows)
    import pandas

    return {name: pandas.DataFrame(table) for name, table in rows.items()}
