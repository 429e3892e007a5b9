"""How values stand in the cells of kept tables, and configurations beside them. Pure.

A cell holds JSON, but for words, which stand as they are. An empty cell is what is not there.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm.config import Config, flat, resolve

DIGITS = 5  # significant ones of a number
SEED = "seed"
_NOT_FINITE = ("nan", "inf", "-inf")
_IDLE = ("device", "observers", "run")  # parts that decide no number of a row
_LENGTH = "run.max_updates"


def cell(value: Any) -> str:
    """A value as it is written."""
    if isinstance(value, str):
        return value if value and not _is_json(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(_short(value), ensure_ascii=False)


def value_of(text: str) -> Any:
    """What `cell` wrote."""
    if text in _NOT_FINITE:
        return float(text)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_json(text: str) -> bool:
    return not isinstance(value_of(text), str) or text.startswith('"')


def _number(value: float) -> str:
    """At most five digits; whole numbers stay whole, and nan and inf are words."""
    return f"{value:.{DIGITS}g}"


def _short(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return float(_number(value))
    if isinstance(value, (list, tuple)):
        return [_short(item) for item in value]
    return value


def settings_of(configs: Sequence[Config]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Values by dotted key that are no defaults: those of all, and the others of each.

    The seed is among neither, nor are keys that decide no number. Of the path of a model the
    last part says which it was; where it lay says nothing.
    """
    defaults = flat(resolve({}))
    found = [_departures(flat(config), defaults) for config in configs]
    shared = {k: v for k, v in found[0].items() if all(k in f and f[k] == v for f in found)}
    return shared, [{k: v for k, v in one.items() if k not in shared} for one in found]


def _departures(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    found = {k: v for k, v in values.items() if k not in defaults or v != defaults[k]}
    found = {k: v for k, v in found.items() if k == _LENGTH or k.partition(".")[0] not in _IDLE}
    found.pop(SEED, None)
    return found | ({"model": bare(found["model"])} if "model" in found else {})


def bare(model: str) -> str:
    """A reference of a model; of an absolute path the last part."""
    return Path(model).name if Path(model).is_absolute() else model


def config_of(values: Mapping[str, Any]) -> Config:
    """The configuration that has these values by dotted key, and else the defaults.

    Raises:
        UserError: for a key or value that no configuration has.
    """
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return resolve(tree)
