"""How several runs ended: survival curves, phase diagram, states, effects and claims.

Effects and claims are those that the sweep wrote last; nothing is judged here.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from collapse_lm._util.files import read_regular
from collapse_lm.analysis.profiles import MEANINGS, commonest, ending_in, shares_in
from collapse_lm.analysis.settings import is_number, told
from collapse_lm.analysis.stats.survival import KaplanMeier, kaplan_meier
from collapse_lm.analysis.stats.time_ratio import TimeRatio
from collapse_lm.measures.endings import STATES
from collapse_lm.report.claims_page import ratio_words
from collapse_lm.report.page.blocks import number
from collapse_lm.report.page.feed import RunFeed
from collapse_lm.report.page.groups import Group, only_measures

_ENDED = ("finished", "diverged")  # as the analysis has it: others say nothing of the model
_UNJUDGED = (
    "No sentence of the paper is judged here: that is done by collapse-lm reproduce, and by a "
    "sweep over the learning rate or the model that has the paper's models and texts."
)
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def sweep_section(
    groups: Sequence[Group], keys: Sequence[str], ids: Mapping[int, str], folder: Path | None
) -> dict[str, Any]:
    """What several runs show together.

    Args:
        groups: of runs.
        keys: dotted, in which groups differ.
        ids: of runs in the page, by the id of their object.
        folder: of the sweep or reproduction; None where the runs are just runs.
    """
    claims = _claims(folder)
    return {
        "keys": list(keys),
        "survival": list(_survival(groups)),
        "phase": _phase(groups, keys, ids),
        "endings": _endings(groups),
        "claims": claims,
        "unjudged": "" if claims else _UNJUDGED,
        "effects": _effects(folder),
    }


def timed(runs: Iterable[RunFeed]) -> list[RunFeed]:
    """Runs that ended by themselves and were at risk: those with a time to collapse."""
    return [f for f in runs if f.status in _ENDED and not f.verdict.from_the_start]


def estimate(runs: Sequence[RunFeed]) -> KaplanMeier:
    """The survival curve of runs that have a time to collapse, of which there is one at least."""
    collapses = [feed.verdict.collapse_update for feed in runs]
    pairs = zip(collapses, runs, strict=True)
    times = [feed.update if collapse is None else collapse for collapse, feed in pairs]
    return kaplan_meier(times, [collapse is not None for collapse in collapses])


def _survival(groups: Sequence[Group]) -> Iterable[dict[str, Any]]:
    for group in groups:
        runs = timed(group.runs)
        if runs:
            yield _curve(group, estimate(runs))


def _curve(group: Group, found: KaplanMeier) -> dict[str, Any]:
    """A step curve from (0, 1) on; null where a limit is undefined."""
    censored = [
        number(time)
        for time, count in zip(found.time, found.censored, strict=True)
        for _ in range(int(count))
    ]
    return {
        "label": group.label,
        "group": group.identity,
        "runs": found.runs,
        "collapses": found.collapses,
        "median": found.median,
        "median_lower": found.median_lower,
        "median_upper": found.median_upper,
        "time": [0, *map(number, found.time.tolist())],
        "survival": [1, *map(number, found.survival.tolist())],
        "lower": [None, *map(number, found.lower.tolist())],
        "upper": [None, *map(number, found.upper.tolist())],
        "at_risk": [found.runs, *map(number, found.at_risk.tolist())],
        "censored": censored,
        "note": found.note,
    }


def _phase(
    groups: Sequence[Group], keys: Sequence[str], ids: Mapping[int, str]
) -> dict[str, Any] | None:
    """A grid over the first two keys of numbers that do more than measure; others are pooled."""
    own = [key for key in keys if not only_measures(key)]
    numeric = [key for key in own if all(is_number(group.values[key]) for group in groups)]
    if len(numeric) < 2:
        return None
    x, y = numeric[:2]
    xs, ys = (sorted({group.values[key] for group in groups}) for key in (x, y))
    cells: dict[tuple[int, int], list[RunFeed]] = {}
    for group in groups:
        place = xs.index(group.values[x]), ys.index(group.values[y])
        cells.setdefault(place, []).extend(group.runs)
    return {
        "x": x,
        "y": y,
        "xs": [told(value) for value in xs],
        "ys": [told(value) for value in ys],
        "cells": [_cell(place, runs, ids) for place, runs in sorted(cells.items())],
    }


def _cell(
    place: tuple[int, int], runs: Sequence[RunFeed], ids: Mapping[int, str]
) -> dict[str, Any]:
    known = timed(runs)
    ending, count = commonest([ending_in(feed.summary()["endings"]) for feed in known])
    changes = [change for feed in known if (change := _change(feed)) is not None]
    return {
        "x": place[0],
        "y": place[1],
        "runs": [ids[id(feed)] for feed in runs],
        "collapsed": sum(feed.verdict.collapsed for feed in known),
        "n": len(known),
        "median": estimate(known).median if known else None,
        "ending": ending if known else "",
        "ended_so": count,
        "change": median(changes) if changes else None,
    }


def _change(feed: RunFeed) -> float | None:
    """Change of the validation loss on the first corpus at the end, in nats per token."""
    losses = feed.summary()["validation"]
    corpora, start, end = feed.corpora, losses["start"] or {}, losses["end"] or {}
    before, after = (one.get(corpora[0]) if corpora else None for one in (start, end))
    return None if before is None or after is None else number(after - before)


def _endings(groups: Sequence[Group]) -> dict[str, Any]:
    """The states that runs of each group got into: of how many runs, how many, and when."""
    rows = []
    for group in groups:
        shares = shares_in([feed.summary()["endings"] for feed in group.runs])
        cells = [
            {"entered": s.entered, "first": s.first, "left": s.left, "runs": s.runs} for s in shares
        ]
        rows.append({"label": group.label, "group": group.identity, "cells": cells})
    return {"states": list(STATES), "meanings": [MEANINGS[state] for state in STATES], "rows": rows}


def _read(folder: Path | None, name: str) -> list[Any]:
    """A list that an analysis wrote; empty where there is none."""
    with suppress(*_DAMAGE):
        found = json.loads(read_regular(folder / name)) if folder else []
        return found if isinstance(found, list) else []
    return []


def _claims(folder: Path | None) -> list[dict[str, str]]:
    found = []
    for claim in _read(folder, "claims.json"):
        with suppress(*_DAMAGE):
            text, detail = str(claim["sentence"]), str(claim["reason"])
            verdict = str(claim["verdict"])
            found.append(
                {"name": str(claim["id"]), "text": text, "verdict": verdict, "detail": detail}
            )
    return found


def _effects(folder: Path | None) -> list[dict[str, str]]:
    found = []
    for effect in _read(folder, "effects.json"):
        with suppress(*_DAMAGE):
            found.append({"label": str(effect["key"]), "text": _effect(effect)})
    return found


def _effect(effect: Mapping[str, Any]) -> str:
    first, last, levels = effect["from"], effect["to"], effect["levels"]
    if effect["scale"] == "words" and len(levels) > 2:
        return f"{len(levels)} values without an order, each against {first}"
    known: dict[str, Any] = {k: v for k, v in effect["time_ratio"].items() if v is not None}
    told_ratio = ratio_words(TimeRatio(**known))  # what is null is undefined there too
    p = effect["permutation"].get("p_value")
    end = "" if p is None else f", p = {p:.3g}"
    return f"from {first} to {last}: time to collapse {told_ratio}{end}"
