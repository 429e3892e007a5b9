"""What makes two configurations the same run, and under which name that is known.

Version 2 is a hash over the values that differ from their defaults, of the keys that
decide numbers: a key that did not exist when a run began then means its default, so a
new key leaves every identity as it is. Version 1, of run directories of format 1, hashed
all keys that there were.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from collapse_lm.config.schema import Config
from collapse_lm.config.slots import Part

IDENTITY_VERSION = 2
LENGTH = "run.max_updates"  # the key that extends a run
MOVED = {"training.betas": "training.optimizer.betas"}  # keys of earlier versions, where they are
_VERSION_1 = {
    "": ("seed", "model", "precision"),
    "sampling": (
        *("prompt", "context", "block_size", "temperature", "top_k", "top_p"),
        *("max_new_tokens", "batch_size", "stop_at_eos", "speculation"),
    ),
    "training": (
        *("learning_rate", "betas", "weight_decay", "grad_clip", "window", "retokenize"),
        "steps_per_update",
    ),
    "evaluation": ("corpora", "every", "context", "stride", "tokens"),
    "collapse": ("loop_share", "seq_rep_4", "train_loss", "patience", "stop", "aftermath"),
    "run": ("checkpoint_every", "checkpoints_kept", "export_model"),
}


def flat(config: Config) -> dict[str, Any]:
    """Return the values of a configuration by dotted key."""
    return flat_values(config.model_dump(mode="json"))


def flat_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a nested mapping by dotted key."""
    found: dict[str, Any] = {}

    def visit(tree: Mapping[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, Mapping):
                visit(value, f"{prefix}{key}.")
            else:
                found[prefix + key] = value

    visit(values, "")
    return found


def identity(config: Config) -> str:
    """Return the SHA-256 that tells a run from others, in the current version."""
    return _digest({"version": IDENTITY_VERSION, "values": decisive(config)})


def identity_1(config: Config) -> str | None:
    """Return the identity of version 1; None for what version 1 could not express."""
    known = {f"{section}.{key}".lstrip(".") for section, keys in _VERSION_1.items() for key in keys}
    known |= {MOVED.get(key, key) for key in known}
    if not decisive(config).keys() <= known:
        return None
    values = flat(config)
    names = (f"{section}.{key}".lstrip(".") for section, keys in _VERSION_1.items() for key in keys)
    return _digest({name: values[MOVED.get(name, name)] for name in names})


def decides_numbers(field: FieldInfo) -> bool:
    """True for a key on which the numbers of a run depend."""
    extra = field.json_schema_extra
    return not (isinstance(extra, dict) and extra.get("decides_numbers") is False)


def decisive(section: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Return the values, by dotted key, that decide numbers and differ from their defaults."""
    found: dict[str, Any] = {}
    plain = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value, default = getattr(section, name), field.get_default(call_default_factory=True)
        if not decides_numbers(field):
            continue
        if isinstance(value, BaseModel) and isinstance(plain[name], Mapping):
            if isinstance(value, Part) and type(value) is not type(default):
                found[f"{prefix}{name}.kind"] = value.kind
            found |= decisive(value, f"{prefix}{name}.")
        elif value != default:
            found[prefix + name] = _by_kind(value) if _holds_parts(value) else plain[name]
    return found


def _holds_parts(value: object) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, Part) for item in value)


def _by_kind(parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    """Parts by their kinds and what differs from their defaults."""
    return [{"kind": part.kind, **decisive(part)} for part in parts]


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
