"""One writer per run directory: a file lock that the system drops when its process dies.

The lock file stays where it is; what counts is whether a living process holds it, so
a killed run leaves nothing to clean up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from collapse_lm._util.files import writing
from collapse_lm.errors import UserError
from collapse_lm.rundir.layout import LOCK

_GLANCE = 0.5  # seconds, in which a look of `has_writer` is over


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which must exist, for the body of a with statement.

    Raises:
        UserError: when another process holds it.
    """
    lock = FileLock(path / LOCK, timeout=_GLANCE)
    with writing(path / LOCK):
        try:
            lock.acquire()
        except Timeout:
            raise UserError.single(
                str(path),
                "a run directory that another process is writing",
                "one writer",
                "wait for that process, or end it, or choose another --out",
            ) from None
    try:
        yield
    finally:
        lock.release()


def has_writer(path: Path) -> bool:
    """True while a living process writes the run directory."""
    if (path / LOCK).is_symlink() or not (path / LOCK).is_file():
        return False
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # a folder that may not be written: nobody of ours is at work there
        return False
    lock.release()
    return False
