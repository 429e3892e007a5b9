"""Paths as a user writes them."""

from pathlib import Path


def expanded(path: str) -> Path:
    """Expand a leading ~ where the user it names exists."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
