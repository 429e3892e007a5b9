"""Only regular files are read: a pipe or a device may never end, or never begin.

Knows nothing of what the files hold; a caller says what the name stands for.
"""

import errno
import os
import stat
from pathlib import Path


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
