"""Parquet files, such as those that trl's GRPO and RLOO trainers leave under log_completions.

Needs pyarrow (extra `parquet`), which is imported where such files are read.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from collapse_lm._util.extras import install
from collapse_lm._util.files import require_regular
from collapse_lm.audits.sources.base import Broken, Entry
from collapse_lm.audits.sources.columns import Columns
from collapse_lm.audits.sources.lines import BY_FILE
from collapse_lm.errors import UserError

_TRL = {"step", "prompt", "completion", "advantage"}
_ROWS = 1024  # of a batch


class Tables:
    """Texts of Parquet files, read a batch of rows at a time.

    Args:
        files: in the order of their texts.
        text: column of the text; None takes a known one.
        by: column of the groups, or `file`; None takes the step.

    Raises:
        UserError: without pyarrow, where no file can be read, for a column that there is not,
            and where none is known.
    """

    def __init__(self, files: Sequence[Path], text: str | None, by: str | None) -> None:
        if find_spec("pyarrow") is None:
            fix = install("parquet")
            raise UserError.single(files[0].name, "no pyarrow", "pyarrow, for Parquet files", fix)
        self.broken = Broken()
        self._files = files
        found = next((list(table.schema_arrow.names) for _, table in self._tables()), None)
        if found is None:
            told = "; ".join(self.broken.named[:3])
            raise UserError.single(files[0].name, told, "a Parquet file")
        self._by_file = by == BY_FILE and BY_FILE not in found
        self._columns = Columns(files[0].name, found, text, None if self._by_file else by)
        if self._by_file:
            self._columns.by = None
        self.has_groups = bool(self._columns.by or self._by_file)
        kind = "completions of trl (Parquet)" if set(found) >= _TRL else "Parquet"
        count = "1 file" if len(files) == 1 else f"{len(files):,} files"
        self.told = f"{kind}, {count}, {self._columns.told}"
        self.told += "" if self.has_groups else "; one group"

    def _tables(self) -> Iterator[tuple[Path, Any]]:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        for path in self._files:
            try:
                require_regular(path)
                with ParquetFile(path) as table:
                    yield path, table
            except (ArrowException, OSError, ValueError) as error:
                self.broken.add(path.name, str(error).partition("\n")[0])

    def __iter__(self) -> Iterator[Entry]:
        self.broken = Broken()
        for path, table in self._tables():
            names = [name for name in self._columns.names if name in table.schema_arrow.names]
            number = 0
            for batch in table.iter_batches(_ROWS, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    try:
                        entry = self._columns.entry(row)
                    except ValueError as error:
                        self.broken.add(f"{path.name}, row {number}", error)
                        continue
                    yield Entry(entry.text, path.name, entry.prompt) if self._by_file else entry
