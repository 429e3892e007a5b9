"""Tables as files: CSV and JSON lines by the standard library, Parquet by pyarrow.

Rows come in parts, one per run, so that no table is ever whole in memory. A lone surrogate,
which no file in UTF-8 can hold, becomes its escape. Equal rows give equal files.
"""

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from collapse_lm._util.extras import install
from collapse_lm.analysis.export.columns import SCHEMA, Column, Values, as_typed
from collapse_lm.errors import UserError

FORMATS = ("csv", "jsonl", "parquet")


class TableFile(ABC):
    """A file that takes the rows of one table.

    Attributes:
        rows: written so far.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns, self.rows = tuple(columns), 0

    def add(self, rows: Iterable[Values]) -> None:
        """Write rows; what they lack is empty."""
        typed = [{c.name: as_typed(row.get(c.name), c) for c in self.columns} for row in rows]
        self.rows += len(typed)
        self._write(typed)

    @abstractmethod
    def _write(self, rows: Sequence[dict[str, Any]]) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""


class _TextFile(TableFile):
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(columns)
        self._file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CsvFile(_TextFile):
    """CSV: `nan` and `inf` are numbers, an empty cell is what does not apply."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(path, columns)
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([column.name for column in columns])

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        self._writer.writerows([_cell(value) for value in row.values()] for row in rows)


class JsonLines(_TextFile):
    """JSON lines: what does not apply is absent; `nonfinite` says what a null was, as in a run."""

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            lost = {k: str(v) for k, v in row.items() if isinstance(v, float) and not _is_finite(v)}
            known = {k: _json_value(v) for k, v in row.items() if v is not None}
            known |= {"nonfinite": lost} if lost else {}
            self._file.write(json.dumps(known, ensure_ascii=False, allow_nan=False) + "\n")


class ParquetFile(TableFile):
    """Parquet, a row group per run; the schema stands in the file's own metadata too."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(columns)
        import pyarrow
        from pyarrow import parquet

        self._arrow = pyarrow
        types = {
            "string": pyarrow.string(),
            "json": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "boolean": pyarrow.bool_(),
            "integers": pyarrow.list_(pyarrow.int64()),
            "numbers": pyarrow.list_(pyarrow.float64()),
        }
        fields = [
            pyarrow.field(c.name, types[c.type], metadata={"unit": c.unit, "meaning": c.meaning})
            for c in columns
        ]
        self._schema = pyarrow.schema(fields, metadata={"schema": SCHEMA})
        self._writer = parquet.ParquetWriter(path, self._schema)

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        clean = [{name: _encodable(value) for name, value in row.items()} for row in rows]
        if clean:
            table = self._arrow.Table.from_pylist(clean, schema=self._schema)
            self._writer.write_table(table)

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


def open_table(kind: str, path: Path, columns: Sequence[Column]) -> TableFile:
    """Open a file of one of the `FORMATS`."""
    kinds: dict[str, type[CsvFile | JsonLines | ParquetFile]] = {
        "csv": CsvFile,
        "jsonl": JsonLines,
        "parquet": ParquetFile,
    }
    return kinds[kind](path, columns)


def require_format(kind: str) -> None:
    """Accept a format that can be written here.

    Raises:
        UserError: for another one, and for parquet without pyarrow.
    """
    if kind not in FORMATS:
        raise UserError.single("--format", repr(kind), f"one of {', '.join(FORMATS)}")
    if kind == "parquet" and find_spec("pyarrow") is None:
        raise UserError.single("--format parquet", "no pyarrow", "pyarrow", install("parquet"))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return json.dumps(_json_value(value), allow_nan=False)
    return value  # csv writes None as an empty cell, and floats so that they are read back


def _json_value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value if _is_finite(value) else None


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value
