"""Tidy tables of finished runs, in long form, as CSV text.

A number that is undefined is `nan`; a cell that does not apply is empty. Names are
made printable. Knows nothing of where the text goes.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.analysis.levels import Groups, sort_group
from collapse_lm.analysis.outcomes import LeftOut, Measured, Outcome
from collapse_lm.analysis.stats.survival import kaplan_meier
from collapse_lm.measures.names import Row, label

_PLAIN = tuple(f.name for f in fields(Outcome) if f.name not in ("corpora", "validation"))
_SETTING = ("run", "label", "parameters", "learning_rate", "temperature", "sample_length", "seed")
_LOSS = ("loss", "perplexity", "bits_per_byte")
_TEXT = ("loop_share", "seq_rep_4", "distinct_1", "distinct_2", "compression")
_OWN = {
    "train_loss": "train.loss",
    "entropy": "probe.entropy",
    "sampling_entropy": "probe.sampling_entropy",
    **{name: f"text.{name}" for name in _TEXT},
}


def runs_table(groups: Groups, left_out: Mapping[str, Sequence[LeftOut]]) -> str:
    """A row per run; runs that are left out follow, with the reason as their status."""
    corpora = _corpora(groups)
    losses = [f"validation_{c}_{stage}" for c in corpora for stage in ("start", "collapse", "end")]
    rows = [
        {"group": group, **_plain(run.outcome), **_ends(run.outcome)}
        for group, runs in groups.items()
        for run in runs
    ]
    rows += [
        {"group": group, "run": run.run, "status": run.reason}
        for group, runs in left_out.items()
        for run in runs
    ]
    return _csv(("group", *_PLAIN, *losses), rows)


def updates_table(groups: Groups) -> str:
    """A row per run, update and corpus; corpus is empty where an update was not evaluated."""
    columns = ("group", *_SETTING, "update", "corpus", *_LOSS, *_OWN)
    rows = (
        row for group, runs in groups.items() for run in runs for row in _update_rows(group, run)
    )
    return _csv(columns, rows)


def survival_table(groups: Groups) -> str:
    """The Kaplan-Meier curve (95 % interval) and median of each level of each group.

    A level is what the group varies: learning rate, size, or a cell of the phase diagram.
    """
    columns = (
        *("group", "level", "runs", "collapses", "median", "median_lower", "median_upper"),
        *("time", "at_risk", "events", "censored", "survival", "lower", "upper", "note"),
    )
    rows = [
        {"group": group, "level": level, **row}
        for group, runs in groups.items()
        for level, members in sort_group(group, runs).items()
        for row in _survival_rows(members)
    ]
    return _csv(columns, rows)


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in _PLAIN}


def _ends(outcome: Outcome) -> dict[str, float]:
    return {
        f"validation_{corpus}_{stage}": loss
        for corpus, losses in outcome.validation.items()
        for stage, loss in zip(("start", "collapse", "end"), losses, strict=True)
    }


def _corpora(groups: Groups) -> list[str]:
    """Every corpus, in the order of first appearance."""
    names = (name for runs in groups.values() for run in runs for name in run.outcome.corpora)
    return list(dict.fromkeys(names))


def _update_rows(group: str, run: Measured) -> Iterator[dict[str, Any]]:
    setting = {"group": group} | {name: getattr(run.outcome, name) for name in _SETTING}
    for row in run.rows:
        own = {**setting, "update": row.update, **_own_numbers(row)}
        for corpus in row.labelled("validation.loss") or ("",):
            losses = {f: _cell(row, label(f"validation.{f}", corpus)) for f in _LOSS if corpus}
            yield {**own, "corpus": corpus, **losses}


def _own_numbers(row: Row) -> dict[str, Any]:
    """What is known of the texts of an update; nothing at update 0, which has none."""
    if not row.update:
        return {}
    return {column: _cell(row, name) for column, name in _OWN.items()}


def _cell(row: Row, name: str) -> Any:
    """A number of a row; `nan` where the row does not have it, or it is none."""
    value = row.values.get(name, math.nan)
    return "nan" if math.isnan(value) else value


def _survival_rows(runs: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    found = kaplan_meier([run.outcome.time for run in runs], [run.outcome.observed for run in runs])
    whole = ("runs", "collapses", "median", "median_lower", "median_upper", "note")
    curve = ("time", "at_risk", "events", "censored", "survival", "lower", "upper")
    for place in range(len(found.time)):
        columns = {name: float(getattr(found, name)[place]) for name in curve}
        yield {name: getattr(found, name) for name in whole} | columns


def _csv(columns: Sequence[str], rows: Any) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerow({name: printable(name) for name in columns})
    writer.writerows({name: _shown(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return value
