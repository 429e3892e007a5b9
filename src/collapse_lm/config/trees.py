"""Nested mappings of configuration values, before they are checked: merged, spelled out.

A part may be written as its kind alone, keys of earlier versions are put where they are
now, and a part of another kind takes over no setting of the former.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import PydanticCustomError

from collapse_lm.config.identity import MOVED
from collapse_lm.config.keys import slots_by_key, value_at
from collapse_lm.config.precision import by_phase
from collapse_lm.config.slots import kind_of

Tree = dict[str, Any]


def nested(key: str, value: Any) -> Tree:
    """Turn ``a.b`` and a value into ``{"a": {"b": value}}``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def merge(base: Mapping[str, Any], diff: Mapping[str, Any], place: str = "") -> Tree:
    """Lay a tree over another; `place` is the dotted key of both."""
    merged = dict(base)
    for key, value in diff.items():
        old, where = merged.get(key), f"{place}.{key}".lstrip(".")
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        if both and not _is_other(where, old, value):  # type: ignore[arg-type]
            merged[key] = merge(old, value, where)  # type: ignore[arg-type]
        else:
            merged[key] = value
    return merged


def _is_other(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """True for a part of another kind; one that is not written out is the default's."""
    slot = slots_by_key().get(where)
    default = kind_of(slot.own[0]) if slot else None
    return "kind" in new and new["kind"] != old.get("kind", default)


def spelled_out(tree: Tree) -> Tree:
    """Write a part that is given as its kind alone as a mapping, and rename former keys."""
    for old, new in MOVED.items():
        section, _, key = old.partition(".")
        inner = tree.get(section)
        if isinstance(inner, Mapping) and key in inner:
            rest = {name: value for name, value in inner.items() if name != key}
            tree = merge(nested(new, inner[key]), {**tree, section: rest})
    if "precision" in tree:
        tree = {**tree, "precision": by_phase(tree["precision"])}
    for key in slots_by_key():
        kind = value_at(tree, key.split("."))
        if isinstance(kind, str):
            tree = merge(tree, nested(key, {"kind": kind}))
    return tree


def load_named(trees: Iterable[Mapping[str, Any]]) -> None:
    """Load the parts of other packages that trees name, so that their keys are known.

    One that cannot be loaded is told when the tree is checked.
    """
    for tree in trees:
        for key, slot in slots_by_key().items():
            part = value_at(tree, key.split("."))
            kind = part.get("kind") if isinstance(part, Mapping) else part
            if isinstance(kind, str) and ":" in kind:
                with suppress(PydanticCustomError):
                    slot.load(kind)
