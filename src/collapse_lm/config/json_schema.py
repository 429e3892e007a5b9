"""The JSON schema of the configuration, and the list of its parts: every kind included.

To tell what a part of another package takes, that package is loaded here, and only here
without being named in a configuration.
"""

from importlib.metadata import EntryPoint
from typing import Any

from pydantic_core import PydanticCustomError

from collapse_lm.config.parts import SLOTS
from collapse_lm.config.schema import Config
from collapse_lm.config.slots import Part, Slot


def json_schema() -> dict[str, Any]:
    """The JSON schema; a part is one of the schemas of its kinds, told apart by `kind`."""
    schema = Config.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for slot in SLOTS:
        kinds = {}
        for kind, part in _loadable(slot).items():
            found = part.model_json_schema()
            definitions |= found.pop("$defs", {})
            found["properties"]["kind"] = {"const": kind, "type": "string"}
            kinds[kind] = found
        definitions[slot.base.__name__] = {
            "oneOf": list(kinds.values()),
            "discriminator": {"propertyName": "kind"},
        }
    return schema


def tell_parts() -> list[dict[str, str]]:
    """A row for each kind of part: its place, its kind, its package, what it is."""
    rows = []
    for slot in SLOTS:
        for kind, known in slot.kinds().items():
            home = kind.partition(":")[0] if isinstance(known, EntryPoint) else "collapse-lm"
            told = _first_line(slot, kind)
            rows.append({"part": slot.name, "kind": kind, "from": home, "told": told})
    return rows


def _loadable(slot: Slot) -> dict[str, type[Part]]:
    """The kinds of a slot by name, those left out that cannot be loaded."""
    found = {}
    for kind in slot.kinds():
        try:
            found[kind] = slot.load(kind)
        except PydanticCustomError:
            continue
    return found


def _first_line(slot: Slot, kind: str) -> str:
    try:
        return (slot.load(kind).__doc__ or "").strip().partition("\n")[0]
    except PydanticCustomError as error:
        return f"cannot be used: expected {error.message()}"
