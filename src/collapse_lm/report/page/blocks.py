"""Blocks: the heavy data of a page, each gzip of UTF-8 JSON. Equal data give equal bytes. Pure."""

import base64
import gzip
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

_LEVEL = 6  # of gzip; 9 takes three times as long for a hundredth
_DIGITS = 6  # of a number in a block


def pack(value: Any) -> bytes:
    r"""A value as a block.

    A lone surrogate, which UTF-8 cannot hold, becomes the escape that JSON has for it.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # `backslashreplace` writes \ud800, which within a JSON string is that surrogate.
    return gzip.compress(text.encode("utf-8", "backslashreplace"), _LEVEL, mtime=0)


def unpack(block: bytes) -> Any:
    """The value of a block."""
    return json.loads(gzip.decompress(block))


def inlined(block: bytes) -> str:
    """A block as it stands in a page."""
    return base64.b64encode(block).decode("ascii")


def inlined_size(blocks: Iterable[bytes]) -> int:
    """How many bytes of a page blocks take."""
    return sum(-(-len(block) // 3) * 4 for block in blocks)


def number(value: float | int | None) -> float | int | None:
    """A number to six digits as JSON has it; None for one that is not finite."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{_DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def told_number(value: float | int | None, digits: int = 4) -> str:
    """A number of a table; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}".replace("-", "−")


def script_json(value: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # all of it ASCII
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
