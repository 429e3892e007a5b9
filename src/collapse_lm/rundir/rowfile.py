"""A file of rows, one JSON object per line: appended by one process, read by any.

The hash of all bytes so far goes along as lines are appended, so that a checkpoint binds
itself to the rows without reading them again. Knows nothing of what a line holds,
but for the update that it is of.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from collapse_lm._util.files import require_regular, writing
from collapse_lm.rundir.shape import naming

_TAIL = 1 << 16  # bytes from the end of a file, in which its last row is looked for
Length = dict[str, Any]  # {"bytes": of the file, "sha256": of those bytes}


class RowFile:
    """A file of rows that this process appends to.

    Args:
        path: of the file, which exists.
        content: the bytes that it holds now.
    """

    def __init__(self, path: Path, content: bytes = b"") -> None:
        self.path = path
        self._hash = hashlib.sha256(content)
        self._length = len(content)

    def append(self, line: str) -> None:
        """Add a line."""
        data = (line + "\n").encode("utf-8", errors="backslashreplace")
        with writing(self.path), self.path.open("ab") as file:
            file.write(data)
        self._hash.update(data)
        self._length += len(data)

    def flush(self) -> Length:
        """Bring the rows to the disk itself; return how long the file is, with its hash."""
        with writing(self.path), self.path.open("rb") as file:
            os.fsync(file.fileno())
        return {"bytes": self._length, "sha256": self._hash.hexdigest()}


def read_bytes(path: Path) -> bytes:
    """All bytes of a file of rows."""
    require_regular(path)
    return path.read_bytes()


def whole_lines(name: str, content: bytes) -> list[str]:
    """The lines of a file; a last line without its end was never completed."""
    end = content.rfind(b"\n") + 1
    with naming(name):
        return content[:end].decode("utf-8").split("\n")[:-1]


def begins_with(content: bytes, seen: Length) -> bool:
    """True where a file still begins with the bytes that `flush` saw."""
    start = content[: seen["bytes"]]
    is_whole = len(start) == seen["bytes"]  # neither past the end nor from it
    return is_whole and bool(hashlib.sha256(start).hexdigest() == seen["sha256"])


def last_update(rows: Path) -> int:
    """The update of the last whole row of a row file, 0 where there is none.

    Raises:
        OSError, RecordError: for a file of something else.
    """
    require_regular(rows)
    with rows.open("rb") as file:
        end, size = file.seek(0, os.SEEK_END), _TAIL
        while True:
            start = max(0, end - size)
            file.seek(start)
            lines = file.read(end - start).split(b"\n")[:-1]  # what follows is no whole row
            whole = lines[1:] if start else lines  # the first may have been cut
            if whole or not start:
                with naming(rows.name):
                    return int(json.loads(whole[-1])["update"]) if whole else 0
            size *= 4
