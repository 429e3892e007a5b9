"""Paths as a user writes them, and the folder of what is made once and kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The project's cache directory: COLLAPSE_LM_CACHE, else XDG's, else ~/.cache."""
    own = os.environ.get("COLLAPSE_LM_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "collapse-lm"


def expanded(path: str) -> Path:
    """Expand a leading ~ where the user it names exists."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
