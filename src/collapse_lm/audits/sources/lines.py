"""JSON lines: one object each, with a text in one of its columns.

So write many: datasets, logs, and verl's rollout_data_dir, a file per step whose lines hold
input, output, score and step.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from collapse_lm._util.files import require_regular
from collapse_lm.audits.sources.base import Broken, Entry
from collapse_lm.audits.sources.columns import Columns
from collapse_lm.errors import UserError

BY_FILE = "file"
_LOOKED_AT = 100  # objects by which the columns are known
_VERL = {"input", "output", "score", "step"}
_LINES = 64  # of a group at least, where a file has no groups of its own
_MOST_GROUPS = 20


class Lines:
    """Texts of files of JSON lines, read line by line.

    Args:
        files: in the order of their texts.
        text: column of the text; None takes a known one.
        by: column of the groups; `file` makes each file one; None takes the step, else parts of
            equal length in the order of the lines.

    Raises:
        UserError: for a column that there is not, and where none is known.
    """

    def __init__(self, files: Sequence[Path], text: str | None, by: str | None) -> None:
        self.broken = Broken()
        self._files = files
        first = [row for row in islice(self._rows(), _LOOKED_AT) if isinstance(row[1], dict)]
        found = list(dict.fromkeys(name for _, row in first for name in row))
        where, self._by_file = files[0].name, by == BY_FILE and BY_FILE not in found
        if not found:
            told = "no line that holds a JSON object"
            named = "; ".join(self.broken.named[:3])
            raise UserError.single(where, f"{told}: {named}" if named else told, "JSON lines")
        self._columns = Columns(where, found, text, None if self._by_file else by)
        if self._by_file:
            self._columns.by = None
        self._size = 0 if self._columns.by or self._by_file else self._part()
        self.has_groups = bool(self._columns.by or self._by_file or self._size)
        self.told = self._tell(found)

    def _tell(self, found: Sequence[str]) -> str:
        kind = "verl rollouts (JSON lines)" if set(found) >= _VERL else "JSON lines"
        told = f"{kind}, {_files(len(self._files))}, {self._columns.told}"
        if self._by_file:
            return f"{told}, a group per file"
        if self._size:
            return f"{told}; no steps, so groups of {self._size} lines in the order of the file"
        return told if self._columns.by else f"{told}; one group"

    def _part(self) -> int:
        """Lines of a group where no column tells groups; 0 for so few that they are one."""
        count = sum(1 for file in self._files for _ in self._lines(file))
        groups = min(_MOST_GROUPS, count // _LINES)
        return -(-count // groups) if groups > 1 else 0

    def __iter__(self) -> Iterator[Entry]:
        self.broken = Broken()
        part, at = 1, 0
        for place, row in self._rows():
            at += 1
            if self._size:
                part = 1 + (at - 1) // self._size
            try:
                if not isinstance(row, dict):
                    raise ValueError("no JSON object")
                entry = self._columns.entry(row)
            except ValueError as error:
                self.broken.add(place, error)
                continue
            if self._by_file:
                entry = Entry(entry.text, place.rpartition(", line ")[0], entry.prompt)
            yield Entry(entry.text, part, entry.prompt) if self._size else entry

    def _rows(self) -> Iterator[tuple[str, Any]]:
        """(place, value) of every line that is JSON; the others are noted."""
        for file in self._files:
            for number, line in enumerate(self._lines(file), 1):
                if not line.strip():
                    continue
                place = f"{file.name}, line {number}"
                try:
                    yield place, json.loads(line)
                except (ValueError, RecursionError) as error:
                    self.broken.add(place, _why(error))

    def _lines(self, file: Path) -> Iterator[bytes]:
        """The lines of a file; one that cannot be read is noted."""
        try:
            require_regular(file)
            with file.open("rb") as lines:
                yield from lines
        except OSError as error:
            self.broken.add(file.name, error.strerror or error)


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return "nested too deeply" if isinstance(error, RecursionError) else f"no JSON: {error}"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
