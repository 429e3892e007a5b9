"""One run as an entry of the page object, without what only shows beside other runs. Pure."""

import math
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from collapse_lm.measures.rule import Observation, reasons
from collapse_lm.report.page.blocks import number
from collapse_lm.report.page.facts import command, difference, facts
from collapse_lm.report.page.feed import RunFeed
from collapse_lm.report.page.verdict import criterion, of_base_model, sentence, three_numbers

_SPARKS = ("train.loss", "text.loop_share", "text.distinct_4")
_BASE_OF = ("text.", "probe.", "validation.", "base.")  # names that have a value of the base model
_NONE_OF = ("validation.tokens", "validation.change", "probe.forward_passes")


def entry(feed: RunFeed, identity: str, name: str) -> dict[str, Any]:
    """The entry of a run, as docs/report.md tells it.

    Args:
        feed: the run.
        identity: r0, r1, ...: unique in the page.
        name: of the run, below the folder that all share.
    """
    manifest, human = feed.manifest, human_text(feed)
    made_by = manifest.get("made_by")
    return {
        "id": identity,
        "name": name,
        "label": name,
        "group": "",
        "seed": manifest["seed"],
        "model": model_name(feed),
        "source": feed.origins or str(made_by or feed.values.get("source.kind", "own")),
        "status": feed.status,
        "updates": feed.update,
        "seconds": number(manifest.get("seconds", 0.0)),
        "verdict": sentence(feed),
        "numbers": three_numbers(feed, human),
        "states": list(states(feed)),
        "settings": {},
        "difference": [one for one in difference(feed.values) if not made_by or _is_told(one[0])],
        "facts": facts(feed),
        "command": _own_command(feed) or command(feed.values),
        "references": {"human": human, "base": base_model(feed)},
        "dose": feed.columns.dose(),
        "rows": f"rows-{identity}",
        "samples": sample_index(feed, identity),
        "has": dict(feed.samples.has),
        "spark": sparks(feed),
        "end": end(feed),
    }


def _own_command(feed: RunFeed) -> str:
    """Of a record that is no run's: the command that made it, or that none of ours would."""
    made_by = feed.manifest.get("made_by")
    if made_by and isinstance(own := feed.manifest.get("command"), str):
        return own
    return f"# made by the {made_by}: the training was not done by collapse-lm" if made_by else ""


def _is_told(key: str) -> bool:
    """True for a key that the record of somebody else's training or texts knows."""
    return key.startswith(("sampling.", "collapse.", "evaluation.corpora", "evaluation.tokens"))


def model_name(feed: RunFeed) -> str:
    """The last part of the reference of a model."""
    reference = str(feed.manifest["model"]["reference"])
    return PurePath(reference).name or reference


def human_text(feed: RunFeed) -> dict[str, float]:
    """Measures of human text of the length of a sample, where the run recorded them."""
    recorded = feed.manifest.get("human")
    pairs = recorded.items() if isinstance(recorded, dict) else ()
    return {
        str(name): float(value)
        for name, value in pairs
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def base_model(feed: RunFeed) -> dict[str, float]:
    """Numbers of the base model: its losses, and measures of the sample that it drew."""
    named = [
        name
        for name in feed.columns.values
        if name.startswith(_BASE_OF) and not name.startswith(_NONE_OF)
    ]
    found = {name: of_base_model(feed.columns, name) for name in named}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def states(feed: RunFeed) -> Iterator[dict[str, Any]]:
    """Moments to jump to: the first degenerate probe, the collapse, the lowest validation loss."""
    columns, verdict = feed.columns, feed.verdict
    first = _first_degenerate(feed)
    if first is not None and first != verdict.collapse_update:
        yield {"name": "degenerate", "update": first, "title": "first degenerate sample"}
    if verdict.collapse_update is not None:
        told = criterion(columns, verdict.collapse_update, verdict.reasons, feed.rule)
        yield {"name": "collapse", "update": verdict.collapse_update, "title": f"collapse: {told}"}
    for corpus in feed.corpora[:1]:
        losses = list(columns.known(f"validation.loss[{corpus}]"))
        update, loss = min(losses, key=lambda pair: pair[1], default=(0, math.nan))
        if update:
            title = f"lowest validation loss ({corpus}): {loss:.3f} nats/token"
            yield {"name": "lowest", "update": update, "title": title}
    if 0 in columns.values.get("train.applied", ()):
        yield {"name": "divergence", "update": feed.update, "title": "divergence: withheld step"}


def _first_degenerate(feed: RunFeed) -> int | None:
    columns = feed.columns
    probes = dict(columns.known("text.loop_share"))
    names = ("text.seq_rep_4", "probe.loss", "probe.degenerate_share")
    more = [dict(columns.known(name)) for name in names]
    for update, share in probes.items():
        rest = [known.get(update, math.nan) for known in more]
        if reasons(Observation(update, share, *rest), feed.rule):
            return update
    return None


def sample_index(feed: RunFeed, identity: str) -> dict[str, Any]:
    """Which updates have samples, and in which blocks."""
    found, place = list[list[Any]](), 0
    for number_of, (_, count) in enumerate(feed.samples.blocks()):
        found.append([f"samples-{identity}-{number_of}", place, place + count])
        place += count
    updates, thinned = feed.samples.updates, feed.samples.thinned
    return {"updates": updates, "blocks": found, "thinned": thinned}


def sparks(feed: RunFeed) -> dict[str, list[float | int]]:
    """Small series for a table of runs."""
    names = [*_SPARKS[:1], *(f"validation.loss[{c}]" for c in feed.corpora[:1]), *_SPARKS[1:]]
    return {name: feed.columns.spark(name) for name in names if name in feed.columns.values}


def end(feed: RunFeed) -> dict[str, Any]:
    """How the run ended, by the rule."""
    verdict = feed.verdict
    return {
        "collapsed": verdict.collapsed,
        "collapse_update": verdict.collapse_update,
        "reason": feed.summary()["reason"],
        "criteria": list(verdict.reasons),
        "before_training": verdict.from_the_start,
    }
