"""Runs that differ in nothing but the seed are a group; what else runs differ in names it. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.analysis.settings import is_number, short_keys, told
from collapse_lm.report.page.facts import decides_no_number, defaults, word
from collapse_lm.report.page.feed import RunFeed

SEED = "seed"
_LONGEST = 80  # characters of a label, its seed aside
_BARE = 2  # values that tell a run without their keys
_ASIDE = ("evaluation", "measures", "collapse", "run")  # parts that only measure or stop


@dataclass(frozen=True)
class Group:
    """Runs of one configuration.

    Attributes:
        identity: g0, g1, ...
        label: what sets it apart, in words.
        values: of the keys in which groups differ.
        runs: by seed.
    """

    identity: str
    label: str
    values: Mapping[str, Any]
    runs: tuple[RunFeed, ...]


def value_of(feed: RunFeed, key: str) -> Any:
    """The value of a key; what an earlier release did not know is its default."""
    return feed.values[key] if key in feed.values else defaults().get(key)


def varied_keys(feeds: Sequence[RunFeed]) -> list[str]:
    """Dotted keys in which runs differ, the seed among them, of those that decide numbers."""
    keys = dict.fromkeys(key for feed in feeds for key in feed.values)
    found = [k for k in keys if len({word(value_of(feed, k)) for feed in feeds}) > 1]
    return [key for key in found if not decides_no_number(key)]


def only_measures(key: str) -> bool:
    """True for a key that sets what is measured, or when a run stops, and no more."""
    return key.partition(".")[0] in _ASIDE


def telling_keys(keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that name groups: all but those that only measure, without which they stay apart.

    Args:
        keys: in which groups differ.
        rows: the values of each group.
    """
    kept = list(keys)
    for key in filter(only_measures, keys):
        without = [one for one in kept if one != key]
        if _kinds(rows, without) == _kinds(rows, keys):
            kept = without
    return kept


def _kinds(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    return len({tuple(word(row[key]) for key in keys) for row in rows})


def groups_of(feeds: Sequence[RunFeed]) -> list[Group]:
    """Sort runs into groups: numbers by size, then words."""
    keys = [key for key in varied_keys(feeds) if key != SEED]
    members: dict[str, list[RunFeed]] = {}
    for feed in feeds:
        members.setdefault(_told_apart(feed, keys), []).append(feed)
    ordered = sorted(members.values(), key=lambda runs: _rank(runs[0], keys))
    values = [{key: value_of(runs[0], key) for key in keys} for runs in ordered]
    telling = telling_keys(keys, values)
    labels = _apart([_label(runs[0], telling) for runs in ordered])
    return [
        Group(f"g{place}", label, of, tuple(sorted(runs, key=_by_seed)))
        for place, (label, of, runs) in enumerate(zip(labels, values, ordered, strict=True))
    ]


def _by_seed(feed: RunFeed) -> tuple[int, str]:
    return feed.manifest["seed"], str(feed.path)


def _told_apart(feed: RunFeed, keys: Sequence[str]) -> str:
    """Values of a run, with the hashes of what it read: equal for runs of one group."""
    manifest = feed.manifest
    hashes = [manifest["model"]["sha256"], *(corpus["sha256"] for corpus in manifest["corpora"])]
    return json.dumps([[value_of(feed, key) for key in keys], hashes], default=str)


def _rank(feed: RunFeed, keys: Sequence[str]) -> list[tuple[int, float, str]]:
    values = [value_of(feed, key) for key in keys]
    return [(0, float(v), "") if is_number(v) else (1, 0.0, word(v)) for v in values]


def _label(feed: RunFeed, keys: Sequence[str]) -> str:
    return _cut(", ".join(_with_keys(feed, keys))) if keys else "all runs"


def _with_keys(feed: RunFeed, keys: Sequence[str]) -> list[str]:
    return [f"{short.replace('_', ' ')} {_value(feed, key)}" for short, key in _short(keys)]


def _short(keys: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(short_keys(keys), keys, strict=True)


def _value(feed: RunFeed, key: str) -> str:
    """A value in words; of a path its last part."""
    value = value_of(feed, key)
    if isinstance(value, str):
        return printable(value.rstrip("/").rpartition("/")[2] or value)
    return told(value) if value is None or isinstance(value, (bool, int, float)) else _parts(value)


def _parts(value: Any) -> str:
    """Parts by their kinds, as [measures]; anything else as YAML writes it."""
    if value == []:
        return "none"
    kinds = [one.get("kind") if isinstance(one, dict) else None for one in value]
    named = isinstance(value, list) and all(isinstance(kind, str) for kind in kinds)
    return printable(" + ".join(map(str, kinds))) if named else word(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _apart(labels: Sequence[str]) -> list[str]:
    """Number labels that stand twice."""
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        found.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
    return found


def run_labels(groups: Sequence[Group]) -> dict[int, str]:
    """A label of each run, by the id of its object: the values of its group, and its seed.

    Where there are more than two values, or one that only measures, each stands with its key.
    """
    labels, feeds = list[str](), [feed for group in groups for feed in group.runs]
    keys = telling_keys(list(groups[0].values), [g.values for g in groups]) if groups else []
    for group in groups:
        first = group.runs[0]
        bare = len(keys) <= _BARE and not any(map(only_measures, keys))
        values = [_value(first, key) for key in keys] if bare else _with_keys(first, keys)
        told = [_cut(", ".join(values))] if values else []
        for feed in group.runs:
            labels.append(", ".join([*told, f"seed {feed.manifest['seed']}"]))
    return dict(zip(map(id, feeds), _apart(labels), strict=True))


def settings_of(feed: RunFeed, keys: Sequence[str]) -> dict[str, str]:
    """The values of the keys in which runs differ, in words."""
    return {key: word(value_of(feed, key)) for key in keys}
