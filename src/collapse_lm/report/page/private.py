"""What a page that people send on must not tell: where somebody's files lie.

The part of a path that is a home becomes `~`; of any other absolute path only the last part
stays. What a model wrote is left as it is. Pure.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HOMES = r"/home/[^/\s'\"]+|/Users/[^/\s'\"]+|/root|/var/root|[A-Za-z]:[\\/]Users[\\/][^\\/\s'\"]+"
_PATH = r"[^\s'\"`,;:()\[\]{}<>|=]+"
# An absolute path begins a word; `text:/data/x.txt` and `model=/data/x` hold one.
_START = r"(?<![\w.~/\\-])"
_UP = r"(?:\.\.[\\/])*\.\.(?=/home/|/Users/)"  # a way up and down again tells a home too
_HOME = re.compile(rf"{_START}(?:file://|{_UP})?(?:{_HOMES})(?=[/\\]|$|[\s'\",;:)\]}}])")
_BEGINNING = r"(?:file://)?(?:/(?!/)|[A-Za-z]:[\\/])|(?<!:)//|\\\\"  # the last two: of a server
_ABSOLUTE = re.compile(rf"{_START}(?:{_BEGINNING})({_PATH})")


def clean(text: str) -> str:
    """A text of ours without the homes and folders that it names."""
    if "/" not in text and "\\" not in text:
        return text
    home = _own_home()
    if home and home in text:
        text = re.sub(rf"{_START}{re.escape(home)}(?=[/\\]|$|[\s'\",;:)\]}}])", "~", text)
    return _ABSOLUTE.sub(_last_part, _HOME.sub("~", text))


def cleaned(value: Any) -> Any:
    """The same of every text in nested lists and mappings, keys included."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(item) for item in value]
    return value


def _last_part(found: re.Match[str]) -> str:
    parts = [part for part in re.split(r"[\\/]", found[1]) if part]
    return f".../{parts[-1]}" if len(parts) > 1 else found[0]


def _own_home() -> str:
    """The home of who makes the page; empty where there is none, or it is the root."""
    try:
        home = str(Path.home())
    except RuntimeError:
        return ""
    return home if len(home) > 1 else ""
