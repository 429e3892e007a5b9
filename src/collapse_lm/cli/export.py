"""`collapse-lm export`: what runs recorded, as files for other programs."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from collapse_lm._util.printable import printable

_LOG = logging.getLogger(__name__)


class ExportFormat(StrEnum):
    """Of the files that are written."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def export(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A run, a sweep, or any folder.")],
    kind: Annotated[ExportFormat, typer.Option("--format", help="Of the files.")],
    out: Annotated[Path | None, typer.Option(help="Default: PATH/export.")] = None,
) -> None:
    """Write the runs below PATH as three typed tables (runs, updates, samples) and their schema."""
    from collapse_lm.analysis.export.write import export_runs

    found = export_runs(path, kind, out or path / "export")
    for name, why in found.left_out.items():
        _LOG.warning("left out: %s: %s", name, why)
    for file, rows in zip(found.files, found.rows.values(), strict=False):
        print(printable(f"{file}  {rows:,} rows"))
    print(printable(str(found.files[-1])))
