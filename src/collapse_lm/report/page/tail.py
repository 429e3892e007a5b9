"""The lines that a file of rows has gained since it was last looked at."""

from pathlib import Path

from collapse_lm._util.files import require_regular
from collapse_lm.rundir.rowfile import whole_lines

_REMEMBERED = 256  # bytes before the place, by which a file that was cut meanwhile is known


class Tail:
    """A file of rows that is read as it grows.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start_over()

    def start_over(self) -> None:
        """Begin again with the first line."""
        self._place = 0
        self._before = b""

    def lines(self) -> list[str] | None:
        """The whole lines since the last call; None where what was read is there no more.

        Raises:
            OSError: for a file that cannot be read.
            RecordError: for bytes that are no text.
        """
        require_regular(self.path)
        with self.path.open("rb") as file:
            start = self._place - len(self._before)
            file.seek(start)
            content = file.read()
        known, new = content[: len(self._before)], content[len(self._before) :]
        if known != self._before:
            return None
        end = new.rfind(b"\n") + 1
        found = whole_lines(self.path.name, new)
        self._place += end
        self._before = (known + new[:end])[-_REMEMBERED:]
        return found
