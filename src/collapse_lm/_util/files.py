"""Files, read and written with care.

Only regular files are read: a pipe or a device may never end, or never begin. What is
written appears as a whole or not at all, and a disk that fails is told with its place.
Knows nothing of what the files hold.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collapse_lm.errors import MachineError


def require_regular(path: Path) -> None:
    """Accept a regular file, or a link to one.

    Raises:
        OSError: for anything else, with a text in `strerror` that says what it is.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, f"a name with an {error}", repr(str(path))) from None
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a pipe, a socket or a device", str(path))


def read_regular(path: Path) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: as `require_regular`, or when it cannot be read.
    """
    require_regular(path)
    return path.read_bytes()


def is_inside(path: Path, *folders: Path) -> bool:
    """True where a path, its links followed, lies in one of the folders."""
    try:
        real = Path(os.path.realpath(path))
    except ValueError:  # a NUL in the name
        return False
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside its place and rename it there."""
    with writing(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        temporary = Path(name)
        try:
            # A lone surrogate, which only JSON can hold here, becomes its JSON escape.
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk itself, where the system can."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def writing(path: Path, *also: type[Exception]) -> Iterator[None]:
    """Turn a failure of the disk (an OSError, or one of `also`) into one that names the place."""
    failures: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except failures as error:
        raise MachineError(
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}\n"
            "  fix       make room, then `collapse-lm resume` the run; what was recorded stays"
        ) from error
