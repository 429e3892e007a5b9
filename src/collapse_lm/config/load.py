"""From a preset name or a YAML file plus overrides to one frozen `Config`.

A YAML file is a diff: over the defaults, or over the preset or file that it names
under `extends`. All mistakes are collected and raised together. Knows nothing of
what the values do.
"""

import json
import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from collapse_lm._util.files import is_file
from collapse_lm._util.printable import printable
from collapse_lm.config.keys import (
    did_you_mean,
    dotted_keys,
    field_of,
    help_of,
    is_text,
    key_of,
    value_at,
)
from collapse_lm.config.schema import Config
from collapse_lm.config.trees import Tree, load_named, merge, nested, spelled_out
from collapse_lm.config.yaml_text import parse_yaml
from collapse_lm.errors import Problem, UserError

_PRESETS = resources.files("collapse_lm.config") / "presets"
_LARGEST_FILE = 1_000_000  # bytes; a configuration is a page of text
_RECORDED = "config.yaml"  # in a run directory
_LONGEST_CHAIN = 10  # files that extend one another
_DEEPEST_KEY = 8  # parts of a dotted key; the configuration has three, and parts nest
Overrides = Iterable[str] | Mapping[str, Any]  # `key=value` strings, or values by dotted key
_RULE_KEYS = {
    "stride": "evaluation.stride",
    "window": "training.window",
    "prompts": "sampling.prompts",
    "schedule": "training.schedule.updates",
}


def preset_names() -> list[str]:
    """Names of the presets that ship with the package, sorted."""
    names = (item.name for item in _PRESETS.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_config(reference: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> Config:
    """Read a configuration and apply overrides.

    Args:
        reference: the name of a preset, the path of a YAML file or of a run directory, or
            what such a file holds.
        overrides: `key=value` strings, or values by dotted key.

    Raises:
        UserError: holding every mistake of the file and of the overrides.
    """
    if isinstance(reference, Mapping):
        return resolve(_extended(dict(reference), "", seen=()), overrides)
    return resolve(_read_tree(str(reference), seen=()), overrides)


def words_of(overrides: Overrides) -> list[str]:
    """Overrides as `key=value` strings, in whichever form they come.

    Raises:
        UserError: for any other form.
    """
    if isinstance(overrides, Mapping):
        return [f"{key}={_word(key, value)}" for key, value in overrides.items()]
    words = [] if isinstance(overrides, str) else list(overrides)
    if isinstance(overrides, str) or not all(isinstance(word, str) for word in words):
        raise UserError.single(
            "overrides",
            _short(overrides),
            "a list of key=value strings, or a dictionary of values by dotted key",
            'overrides=["seed=1"], or overrides={"seed": 1}',
        )
    return words


def _word(key: str, value: Any) -> str:
    try:
        return json.dumps(value, default=os.fspath, ensure_ascii=False)
    except (TypeError, ValueError):
        raise UserError.single(
            key, _short(value), "a value that YAML has", "parts are handed over: run(..., source=x)"
        ) from None


def resolve(tree: Mapping[str, Any], overrides: Overrides = ()) -> Config:
    """Validate a nested mapping of configuration values after applying overrides."""
    words, merged, problems = words_of(overrides), spelled_out(dict(tree)), list[Problem]()
    load_named([merged, *map(_as_typed, words)])
    for word in words:
        try:
            merged = merge(merged, spelled_out(_parse_override(word)))
        except UserError as error:
            problems += error.problems
    config, found = _validate(merged)
    if problems or found or config is None:
        raise UserError([*problems, *found])
    return config


def _validate(tree: Tree) -> tuple[Config | None, list[Problem]]:
    """Validate; collect also the problems that show only once others are out of the way."""
    problems: dict[str, Problem] = {}
    while True:
        try:
            return Config.model_validate(tree), list(problems.values())
        except ValidationError as error:
            found = [_problem(details) for details in error.errors()]
        new = [problem for problem in found if problem.where not in problems]
        if not new:
            return None, list(problems.values())
        for problem in new:
            problems.setdefault(problem.where, problem)
            # Of a part whose kind is not known, nothing is known of its other keys.
            tree = _without(tree, problem.where.removesuffix(".kind").split("."))


def _without(tree: Tree, path: list[str]) -> Tree:
    """Drop a key, so that its default stands; what is not there stays so."""
    if path[0] not in tree:
        return tree
    inner = tree[path[0]]
    rest = {key: value for key, value in tree.items() if key != path[0]}
    is_deeper = len(path) > 1 and isinstance(inner, dict)
    return {**rest, path[0]: _without(inner, path[1:])} if is_deeper else rest


def to_yaml(config: Config) -> str:
    """Write a complete configuration; `load_config` reads it back to an equal one."""
    values = config.model_dump(mode="json")
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    if printable(text, keep_newlines=True) == text:
        return text
    return yaml.safe_dump(values, sort_keys=False)  # what could move a cursor is escaped


def _read_tree(reference: str, seen: tuple[str, ...]) -> Tree:
    this = reference if reference in preset_names() else _real(reference)
    if this in seen or len(seen) >= _LONGEST_CHAIN:
        chain = " -> ".join((*seen, this))
        raise UserError.single(
            "extends",
            chain,
            f"a chain that ends, of at most {_LONGEST_CHAIN} files",
            "remove one `extends`",
        )
    return _extended(_parse_yaml(*_read_text(reference)), reference, (*seen, this))


def _extended(tree: Tree, reference: str, seen: tuple[str, ...]) -> Tree:
    """A tree over what it extends, which is looked for beside the file that it stands in."""
    parent = tree.pop("extends", None)
    if parent is None:
        return spelled_out(tree)
    if not isinstance(parent, str):
        raise UserError.single("extends", _short(parent), "the name of a preset or a path")
    if parent not in preset_names():
        parent = str(Path(reference).parent / parent)
    return merge(_read_tree(parent, seen), spelled_out(tree))


def read_yaml(path: str) -> Tree:
    """Read a YAML mapping from a file, with the same bounds as a configuration.

    Raises:
        UserError: for a file that cannot be read or is no mapping.
    """
    return _parse_yaml(*_read_text(path))


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL in the name
        return path


def _read_text(reference: str) -> tuple[str, str]:
    """Return (name for messages, text) of a preset or file."""
    names = preset_names()
    if reference in names:
        return reference, (_PRESETS / f"{reference}.yaml").read_text(encoding="utf-8")
    path = Path(reference)
    if is_file(path / _RECORDED):  # of a run directory
        path = path / _RECORDED
    if not is_file(path):
        raise UserError.single(
            "preset or YAML file",
            _cut(reference),
            f"one of {', '.join(names)}, or the path of a YAML file or of a run directory",
            did_you_mean(reference, names),
        )
    if path.stat().st_size > _LARGEST_FILE:
        raise UserError.single(
            str(path), f"{path.stat().st_size} bytes", f"at most {_LARGEST_FILE} bytes"
        )
    try:
        return str(path), path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError.single(str(path), f"bytes that are not UTF-8 ({error})", "UTF-8") from None
    except OSError as error:
        raise UserError.single(str(path), str(error), "a readable file") from None


def _parse_yaml(name: str, text: str) -> Tree:
    tree = parse_yaml(name, text)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError.single(name, f"a YAML {type(tree).__name__}", "a mapping of keys to values")
    return tree


def _parse_override(override: str) -> Tree:
    """Turn ``a.b=c`` into ``{"a": {"b": c}}``, the value read as YAML unless the key is text."""
    key, separator, raw = override.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path) or len(path) > _DEEPEST_KEY:
        raise UserError.single(
            "--set",
            _cut(override),
            "key=value with a dotted key",
            "--set training.learning_rate=3e-5",
        )
    return nested(key.strip(), parse_value(key, raw))


def _as_typed(override: str) -> Tree:
    """An override whose value is the text that was typed: enough to see which kinds it names."""
    key, _, raw = override.partition("=")
    return nested(key.strip(), raw.strip())


def parse_value(key: str, raw: str) -> Any:
    """Read a value as YAML; a text key keeps what was typed, unless it is in quotes."""
    is_null = raw.strip() in {"null", "~", "", "None"} and not _is_plain_text(key)
    if is_text(key.strip()) and not is_null and raw[:1] not in {'"', "'"}:
        return raw
    return None if is_null else parse_yaml(f"--set {_cut(key)}", raw)


def _is_plain_text(key: str) -> bool:
    """True for a key that holds text and never null."""
    field = field_of(key.strip())
    return field is not None and field.annotation is str


def _problem(details: ErrorDetails) -> Problem:
    """Translate one pydantic error into got / expected / fix."""
    path = key_of(details["loc"])
    if details["type"] == "extra_forbidden":
        keys = dotted_keys()
        fix = did_you_mean(path, keys) or "`collapse-lm config schema` lists all keys"
        return Problem(path, "an unknown key", "a key of the configuration", fix)
    if details["type"] in {"unknown_kind", "broken_kind"}:
        fix = (
            did_you_mean(str(details["input"]), _kinds_of(details))
            or "`collapse-lm parts` lists all"
        )
        return Problem(path, _short(details["input"]), details["msg"], fix)
    if details["type"] in _RULE_KEYS:
        return Problem(_RULE_KEYS[details["type"]], _got(details), details["msg"])
    message = details["msg"].removeprefix("Input should be ")
    return Problem(path or "configuration", _short(details["input"]), message, help_of(path))


def _kinds_of(details: ErrorDetails) -> list[str]:
    kinds = details.get("ctx", {}).get("kinds", "")
    return str(kinds).split(", ")


def _got(details: ErrorDetails) -> str:
    """The offending value behind a rule between keys."""
    path = _RULE_KEYS[details["type"]].split(".")[len(details["loc"]) :]
    value = value_at(details["input"], path)
    return _short(value)


def _short(value: object) -> str:
    try:
        return _cut(repr(value))
    except ValueError:  # Python does not print an integer of thousands of digits
        return "a number of too many digits"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
