"""Files, read and written with care.

Only regular files are read: a pipe or a device may never end, or never begin. What is
written appears as a whole or not at all, with the mode that the umask gives, and a disk
that fails is told with its place and what helps. Knows nothing of what the files hold.
"""

import errno
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collapse_lm.errors import MachineError, UserError

READ_FIX = "get the permission to read it"


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


def is_file(path: Path | str) -> bool:
    """True for a regular file, or a link to one, whatever the path.

    Raises:
        UserError: for a place that may not be looked at.
    """
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except PermissionError as error:
        told = error.strerror or str(error)
        raise UserError.single(str(path), told, "a readable file", READ_FIX) from None
    except (OSError, ValueError):  # not there, a name too long, or with a NUL
        return False


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
        temporary = _beside(path)
        try:
            # A lone surrogate, which only JSON can hold here, becomes its JSON escape.
            with temporary.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A name beside a file for the body of a with statement, which then takes its place.

    Raises:
        MachineError: where the disk does not take it; the former file stays.
    """
    with writing(path):
        temporary = _beside(path)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A new name beside a file (`tempfile` keeps its files from everyone else)."""
    return path.with_name(f".{path.name}-{uuid.uuid4().hex[:12]}")


def open_to_umask(folder: Path) -> None:
    """Give the files of a folder the mode that the umask gives a new one there.

    For files of libraries that write by way of private ones (safetensors: 0600), which no
    colleague could read.
    """
    probe = _beside(folder / "mode")
    try:
        with probe.open("x") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    finally:
        probe.unlink(missing_ok=True)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def require_writable(path: Path) -> None:
    """See beforehand that something can be made at a place, whose folders need not exist yet.

    Raises:
        MachineError: where it cannot.
    """
    there = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    is_known = os.access in os.supports_effective_ids
    if not there.is_dir():
        number = errno.ENOTDIR
    elif not os.access(there, os.W_OK | os.X_OK, effective_ids=is_known):
        number = errno.EACCES
    else:
        return
    with writing(path):
        raise OSError(number, os.strerror(number), str(there))


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk itself, where the system can."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


_AGAIN = "then `collapse-lm resume` the run; what was recorded stays"
_FIXES = {
    (errno.ENOSPC, errno.EDQUOT): f"make room, {_AGAIN}",
    (errno.EACCES, errno.EPERM): "get the permission to write there, or choose another place",
    (errno.ENOENT,): "make the folder that it lies in, or choose another place",
    (errno.EROFS,): "choose a place that is not mounted read-only",
    (errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP): (
        "choose another place"
    ),
}


@contextmanager
def writing(path: Path, *also: type[Exception], fix: str | None = None) -> Iterator[None]:
    """Turn a failure of the disk (an OSError, or one of `also`) into one that names the place.

    Args:
        path: the place.
        also: what a library raises where the disk fails.
        fix: what helps; by default what fits the number of the error.
    """
    failures: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except failures as error:
        raise MachineError(
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}\n"
            f"  fix       {fix or _fix_of(error)}"
        ) from error


def _fix_of(error: Exception) -> str:
    number = getattr(error, "errno", None)
    told = re.search(r"os error (\d+)", str(error))  # Rust's way to say it
    if told:
        number = int(told[1])
    fitting = (fix for numbers, fix in _FIXES.items() if number in numbers)
    return next(fitting, f"mend what the system says, {_AGAIN}")
