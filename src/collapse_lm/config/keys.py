"""The dotted keys of the configuration: which there are, what they hold, what they mean.

A part's keys are those of every kind that is known (ours, and those of other packages
that have been named), so that `source.kind` and its settings are keys like any other.
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from collapse_lm.config.parts import SLOTS
from collapse_lm.config.schema import Config
from collapse_lm.config.slots import Slot

_LONGEST_WORD = 80  # no key is longer, and comparing takes time
_SHORTEST_BEGINNING = 3  # letters by which a name is known
_DEEPEST_PART = 3  # parts within parts whose keys are known
Known = tuple[tuple[type[BaseModel], ...], ...]


def dotted_keys() -> list[str]:
    """Every dotted key of the configuration, sections included."""
    return list(_fields(_known()))


def field_of(key: str) -> FieldInfo | None:
    """The declaration behind a dotted key, or None where there is no such key."""
    return _fields(_known()).get(key)


def help_of(key: str) -> str | None:
    """A field's own description, as the hint of how to choose a value."""
    place = ".".join(part for part in key.split(".") if not part.isdigit())
    field = field_of(place)
    return " ".join(field.description.split()) if field and field.description else None


def is_text(key: str) -> bool:
    """True for a key that holds text, whose value is taken as it was typed."""
    field = field_of(key)
    return field is not None and (field.annotation is str or field.annotation == str | None)


def key_of(location: tuple[int | str, ...]) -> str:
    """The dotted key of an error, without the parts that pydantic adds below a key."""
    parts = [str(part) for part in location]
    if parts and parts[0] in _lists():
        return ".".join(parts)
    leaves = _leaves()
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in leaves:
            return ".".join(parts[:end])
    return ".".join(parts)


def did_you_mean(word: str, choices: list[str]) -> str | None:
    """Suggest a close choice: for a dotted key first among those of its section.

    A short form (lr, batch) means the one choice that it fits.
    """
    if len(word) > _LONGEST_WORD:
        return None
    # Neither itself, nor the section that it is in.
    choices = [one for one in choices if one != word and not word.startswith(f"{one}.")]
    plain = [one for one in choices if one.count(".") < 2]  # those of a kind of part come last
    found = _suggested(word, plain) or _suggested(word, choices)
    return f"did you mean {found}?" if found else None


def _suggested(word: str, choices: list[str]) -> str | None:
    parent, _, last = word.rpartition(".")
    beside = [one for one in choices if one.rpartition(".")[0] == parent]
    whole = {one: one for one in choices if one not in beside}
    return _by_tail(last, beside, 0.6) or _close(word, whole) or _by_tail(last, choices)


def _by_tail(last: str, choices: list[str], cutoff: float = 0.75) -> str | None:
    """By the last part alone: the only one that it is short for, else the closest."""
    tails = {choice.rpartition(".")[2]: choice for choice in choices}
    meant = [tail for tail in tails if _is_short_for(last, tail)]
    return tails[meant[0]] if len(meant) == 1 else _close(last, tails, cutoff)


def _close(word: str, among: Mapping[str, str], cutoff: float = 0.75) -> str | None:
    close = difflib.get_close_matches(word, among, n=1, cutoff=cutoff)
    return among[close[0]] if close else None


def _is_short_for(short: str, name: str) -> bool:
    """True for initials (lr), a beginning (temp) or a word (batch) of a name."""
    words = name.split("_")
    initials = "".join(word[:1] for word in words)
    begins = len(short) >= _SHORTEST_BEGINNING and name.startswith(short)
    return len(short) > 1 and (short == initials or begins or short in words)


def value_at(tree: Any, path: list[str]) -> Any:
    """The value at a path of keys and indices of a nested mapping; None where there is none."""
    for part in path:
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, (list, tuple)) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            tree = getattr(tree, part, None)
    return tree


def _known() -> Known:
    """The kinds of every slot; those of other packages come once they are named."""
    return tuple(tuple(slot.known()) for slot in SLOTS)


@lru_cache(maxsize=2)
def _fields(known: Known) -> Mapping[str, FieldInfo]:
    """Every key with its declaration. A sweep asks thousands of times."""
    return dict(_walk(Config, ""))


def _walk(model: type[BaseModel], prefix: str, depth: int = 0) -> Iterator[tuple[str, FieldInfo]]:
    """Every key below a model; a part within a part (a wrapper's) has its own kinds."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        slot, inner = _slot_in(field), _section_in(field)
        if slot is not None and depth < _DEEPEST_PART:
            found = (_walk(part, f"{prefix}{name}.", depth + 1) for part in slot.known())
            yield from {key: field for part in found for key, field in part}.items()
        elif inner is not None and slot is None:
            yield from _walk(inner, f"{prefix}{name}.", depth)


def _section_in(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, or may hold."""
    held = (field.annotation, *get_args(field.annotation))
    return next((one for one in held if isinstance(one, type) and issubclass(one, BaseModel)), None)


@cache
def slots_by_key() -> Mapping[str, Slot]:
    """The slots that hold one part each, by the dotted key of the part."""
    found = ((key, field, _slot_in(field)) for key, field in _walk(Config, "", _DEEPEST_PART))
    return {key: slot for key, field, slot in found if slot and isinstance(field.annotation, type)}


def _slot_in(field: FieldInfo) -> Slot | None:
    """The slot whose parts a field holds, one of them or several."""
    inner = (field.annotation, *(get_args(a)[0] for a in get_args(field.annotation) if get_args(a)))
    return next((slot for slot in SLOTS if any(a is slot.base for a in inner)), None)


@cache
def _lists() -> frozenset[str]:
    """Keys of the lists of parts."""
    fields = Config.model_fields.items()
    return frozenset(n for n, f in fields if _slot_in(f) and not isinstance(f.annotation, type))


def _leaves() -> set[str]:
    keys = dotted_keys()
    return {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
