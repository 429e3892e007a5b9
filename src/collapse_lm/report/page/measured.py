"""On what runs measured their validation loss, and whether two of them measured alike. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from collapse_lm.report.page.feed import RunFeed
from collapse_lm.report.page.groups import value_of
from collapse_lm.report.page.names import base_of, label_of
from collapse_lm.report.page.private import clean

_OTHER = {  # by importance; compare.js says the same
    "text": "on other text (sha256)",
    "tokens": "on other tokens",
    "bytes": "on other bytes of text",
    "context": "in other contexts",
    "stride": "by other strides",
    "start": "with other start tokens",
}
_SO = "so that the difference is not of the models alone"
_HASH = 8  # characters of a hash

Measured = Mapping[str, Mapping[str, str]]


def measured(feed: RunFeed) -> dict[str, dict[str, str]]:
    """By the label of a corpus, what its text and its windows were; what is not known is absent."""
    return {clean(str(of["name"])): _of(feed, of) for of in feed.manifest["corpora"]}


def _of(feed: RunFeed, corpus: Mapping[str, Any]) -> dict[str, str]:
    context = value_of(feed, "evaluation.context")
    found = {
        "text": str(corpus["sha256"])[:_HASH],
        "tokens": value_of(feed, "evaluation.tokens") or "all",
        "bytes": corpus.get("scored_bytes"),
        "context": context,
        "stride": value_of(feed, "evaluation.stride") or context,
        "start": value_of(feed, "evaluation.start_token"),
    }
    return {key: _told(value) for key, value in found.items() if value is not None}


def _told(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def other_measure(name: str, a: Sequence[Measured], b: Sequence[Measured]) -> str:
    """Why a validation number of two groups of runs differs for more than their models.

    Empty for what was measured alike. The same bytes are the same tokens, whatever number of
    them was asked for.
    """
    if not base_of(name).startswith("validation."):
        return ""
    label = label_of(name)
    sides = [[run[label] for run in side if label in run] for side in (a, b)]
    for kind, other in _OTHER.items():
        first, second = (list(dict.fromkeys(_values(side, kind))) for side in sides)
        if len({*first, *second}) < 2 or not (first and second):
            continue
        if kind == "tokens" and _same_bytes([*sides[0], *sides[1]]):
            continue
        return f"measured {other}: {' or '.join(first)} and {' or '.join(second)}, {_SO}"
    return ""


def _values(side: Sequence[Mapping[str, str]], kind: str) -> list[str]:
    return [run[kind] for run in side if kind in run]


def _same_bytes(runs: Sequence[Mapping[str, str]]) -> bool:
    return len({run.get("bytes") for run in runs}) == 1 and "bytes" in runs[0]
