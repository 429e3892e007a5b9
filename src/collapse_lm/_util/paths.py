"""Paths as a user writes them, and the folder of what is made once and kept."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from collapse_lm.errors import UserError

CACHE_VARIABLE = "COLLAPSE_LM_CACHE"
_BEGAN_IN: ContextVar[Path | None] = ContextVar("began_in", default=None)


def cache_folder() -> Path:
    """The project's cache directory: COLLAPSE_LM_CACHE, else XDG's, else ~/.cache.

    Raises:
        UserError: where none is named and the user has no home.
    """
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return expanded(own)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "collapse-lm"
    except RuntimeError:
        raise UserError.single(
            "cache",
            "no home folder: HOME is not set, and the system does not know this user",
            "a folder for what is made once and kept",
            f"name one in {CACHE_VARIABLE}",
        ) from None


def expanded(path: str) -> Path:
    """Expand a leading ~ where the user it names exists."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


@contextmanager
def as_begun_in(folder: object) -> Iterator[None]:
    """Find what a run names by relative paths although it goes on in another folder.

    Args:
        folder: where the run began; anything but a path tells nothing.
    """
    before = _BEGAN_IN.set(Path(folder) if isinstance(folder, str) else None)
    try:
        yield
    finally:
        _BEGAN_IN.reset(before)


def places_of(path: str) -> list[Path]:
    """Where a path of a user is looked for: where the run began, then here."""
    here, began_in = expanded(path), _BEGAN_IN.get()
    places = [began_in / here, here] if began_in else [here]
    return list(dict.fromkeys(map(_absolute, places)))


def located(path: str) -> Path:
    """The first of these places that holds something, else the path as it was written."""
    if _BEGAN_IN.get() is None:
        return expanded(path)
    found = (place for place in places_of(path) if os.path.lexists(place))
    return next(found, expanded(path))


def looked_for(path: str) -> str:
    """Say where a path was looked for."""
    return " and ".join(map(str, places_of(path)))


def current_folder() -> str | None:
    """The folder that relative paths are relative to now, None where it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 (the same)
    except OSError:
        return None


def _absolute(path: Path) -> Path:
    """Without following links, and also for a path that no system accepts."""
    folder = current_folder()
    return Path(os.path.normpath(Path(folder or os.sep) / path))
