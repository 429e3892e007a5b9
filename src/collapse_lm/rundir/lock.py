"""One writer per run directory: a file lock that the system drops when its process dies.

The lock file stays where it is; what counts is whether a living process holds it, so
a killed run leaves nothing to clean up. Who only looks needs no permission to write.
"""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collapse_lm._util.files import writing
from collapse_lm.errors import MachineError, UserError
from collapse_lm.rundir.layout import LOCK

_GLANCE = 0.5  # seconds, in which a look of `has_writer` is over
_PAUSE = 0.05  # seconds between two tries
_MODE = 0o666  # of the file, less the umask
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # a stranger's link could name any file
_MISSING = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

if sys.platform == "win32":
    import msvcrt

    _HELD = {errno.EACCES, errno.EDEADLK}

    def _lock(handle: int, *, is_shared: bool) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    _HELD = {errno.EAGAIN, errno.EWOULDBLOCK}

    def _lock(handle: int, *, is_shared: bool) -> None:
        kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        fcntl.flock(handle, kind | fcntl.LOCK_NB)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which must exist, for the body of a with statement.

    Raises:
        UserError: when another process holds it.
        MachineError: where the folder cannot be written, or its file system has no locks.
    """
    with writing(path / LOCK):
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | _NO_LINK, _MODE)
    try:
        if not _is_free(path, handle):
            raise UserError.single(
                str(path),
                "a run directory that another process is writing",
                "one writer",
                "wait for that process, or end it, or choose another --out",
            )
        yield
    finally:
        os.close(handle)  # which drops the lock


def _is_free(path: Path, handle: int) -> bool:
    """Take the lock; False where another process keeps it."""
    limit = time.monotonic() + _GLANCE
    while True:
        try:
            _lock(handle, is_shared=False)
            return True
        except OSError as error:
            if error.errno not in _HELD:
                raise _refused(path, error) from error
        if time.monotonic() >= limit:
            return False
        time.sleep(_PAUSE)


def _refused(path: Path, error: OSError) -> MachineError:
    """A lock that cannot be had has other reasons than a full disk."""
    if error.errno in _MISSING:
        fix = "choose a folder on a file system that has file locks (flock), such as a local disk"
    else:
        fix = "get the permission to lock files there, or choose another folder"
    return MachineError(f"{path / LOCK} cannot be locked: {error.strerror}\n  fix       {fix}")


def has_writer(path: Path) -> bool:
    """True while a living process writes the run directory."""
    try:
        handle = os.open(path / LOCK, os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):  # no run yet, or none of ours; a NUL in the name
        return False
    try:
        _lock(handle, is_shared=True)
    except OSError as error:
        return error.errno in _HELD
    finally:
        os.close(handle)
    return False
