"""JSON on one line for values that JSON lacks.

Not-a-number and infinity are written as null and their dotted path (places in lists, too) listed
under `nonfinite`, so that they are neither lost nor taken for a zero.
"""

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(row: Mapping[str, Any]) -> str:
    """Serialise a mapping on one line; see the module's word on what JSON lacks."""
    lost: list[str] = []
    clean = _without_nonfinite(row, "", lost)
    if lost:
        clean["nonfinite"] = lost
    return json.dumps(clean, ensure_ascii=False, allow_nan=False)


def _without_nonfinite(value: Any, path: str, lost: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(path)
        return None
    if isinstance(value, Mapping):
        inner = f"{path}." if path else ""
        return {key: _without_nonfinite(item, f"{inner}{key}", lost) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nonfinite(v, f"{path}.{place}", lost) for place, v in enumerate(value)]
    return value
