"""What a run was made of: how its configuration differs from a preset, its machine, its command.

Pure but for the presets, which are read once.
"""

import json
import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from collapse_lm.config import Config, load_config, preset_names, resolve
from collapse_lm.config.identity import flat_values
from collapse_lm.config.trees import spelled_out
from collapse_lm.report.page.feed import RunFeed
from collapse_lm.report.page.private import clean
from collapse_lm.rundir.resume import may_change

_LEFT_ALONE = ("observers", "run.report", "run.trackers")  # say nothing of what a run did
_SHORT = 12  # characters of a hash or a commit

Values = Mapping[str, Any]


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Every preset by dotted key."""
    return {name: spelled(load_config(name)) for name in preset_names()}


def spelled(config: Config) -> dict[str, Any]:
    """The values of a configuration by dotted key, in the one form that a page compares."""
    return flat_values(spelled_out(config.model_dump(mode="json")))


@cache
def decides_no_number(key: str) -> bool:
    """True for a key on which no number of a run depends."""
    return may_change(key)


@cache
def defaults() -> dict[str, Any]:
    """The values of a configuration that says nothing."""
    return spelled(resolve({}))


def completed(values: Values) -> dict[str, Any]:
    """A configuration with the keys that its release did not know, which mean their defaults."""
    known = {
        key: value
        for key, value in defaults().items()
        if not any(_is_of_another_kind(values, part) for part in _parents(key))
    }
    return {**known, **values}


def _parents(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _is_of_another_kind(values: Values, part: str) -> bool:
    """True for a part whose settings are not those of the default's kind."""
    kind = f"{part}.kind"
    return kind in values and values[kind] != defaults().get(kind)


def nearest_preset(values: Values) -> str:
    """The preset that a configuration differs from in the fewest keys."""
    return min(presets(), key=lambda name: (len(_differing(values, presets()[name])), name))


def _differing(values: Values, preset: Values) -> list[str]:
    """Keys of a configuration with another value than the preset's."""
    return [
        key
        for key, value in completed(values).items()
        if (key not in preset or value != preset[key]) and not key.startswith(_LEFT_ALONE)
    ]


def difference(values: Values) -> list[list[str]]:
    """(key, value, the preset's value) of what differs from the nearest preset."""
    preset, known = presets()[nearest_preset(values)], completed(values)
    return [
        [key, word(known[key]), word(preset[key]) if key in preset else "not set"]
        for key in _differing(values, preset)
    ]


def command(values: Values) -> str:
    """The command that does the same run again.

    What it cannot do is told behind it: hand over parts from Python, or name folders that a
    page must not tell.
    """
    name, known = nearest_preset(values), completed(values)
    given = [key.removesuffix(".kind") for key, kind in values.items() if _is_given(key, kind)]
    words = ["collapse-lm", "run", name]
    for key in _differing(values, presets()[name]):
        if not key.startswith(tuple(f"{part}." for part in given)):
            words += ["--set", f"{key}={json_word(known[key])}"]
    told = " ".join(shlex.quote(one) for one in words)
    notes = [f"{part} was handed over from Python" for part in given]
    notes += ["paths are shortened"] if clean(told) != told else []
    return f"{told}  # {'; '.join(notes)}" if notes else told


def _is_given(key: str, kind: Any) -> bool:
    return key.endswith(".kind") and kind == "python"


def word(value: Any) -> str:
    """A value as YAML writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def json_word(value: Any) -> str:
    """A value as an override takes it."""
    return value if isinstance(value, str) and value else word(value) or '""'


def facts(feed: RunFeed) -> list[list[str]]:
    """What the manifest tells of model, text, machine and time, in words."""
    found = feed.manifest
    pairs = [
        *_of_the_model(found),
        ("Texts trained on", feed.origins),
        *_of_the_corpora(found),
        ("Processor", found.get("processor") or found.get("device")),
        ("Device", found.get("device")),
        ("Threads", found.get("threads")),
        ("Number formats", _formats(found.get("precision"))),
        ("Passes of sampling", _described(found.get("inference"))),
        *((name, version) for name, version in _mapping(found.get("versions")).items()),
        ("Python", found.get("python")),
        ("System", found.get("platform")),
        ("Commit", str(found.get("git_commit") or "")[:_SHORT]),
        ("Started", found.get("started")),
        ("Took", _duration(found.get("seconds"))),
        ("Resumed after update", ", ".join(map(str, found.get("resumed_after", ())))),
        ("Record", f"format {found['format_version']}"),
    ]
    return [[name, str(told)] for name, told in pairs if told not in (None, "")]


def _of_the_model(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    model = _mapping(found.get("model"))
    count = model.get("parameters")
    told = f"{model.get('reference', '')}" + (f", {count:,} parameters" if _is_count(count) else "")
    return [
        ("Model", told),
        ("Revision of the model", str(model.get("revision") or "")),
        ("SHA-256 of the weights", str(model.get("sha256") or "")[:_SHORT]),
    ]


def _of_the_corpora(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows = []
    for corpus in found["corpora"]:
        parts = [
            f"{scored:,} tokens scored" if _is_count(scored := corpus.get("scored_tokens")) else "",
            f"context {corpus['context']}" if "context" in corpus else "",
            str(corpus.get("form") or ""),
            f"licence {corpus['licence']}" if corpus.get("licence") else "",
        ]
        rows.append((f"Corpus {corpus['name']}", ", ".join(part for part in parts if part)))
    return rows


def _formats(precision: Any) -> str:
    if isinstance(precision, Mapping):
        return ", ".join(f"{phase} {word}" for phase, word in precision.items())
    return str(precision or "")


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_yes_or(told)}" for name, told in value.items())
    return str(value or "")


def _yes_or(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else word(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
