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
from collapse_lm.analysis.settings import SettingLevel, settings, told
from collapse_lm.analysis.stats.survival import kaplan_meier
from collapse_lm.measures.names import Row, label

_PLAIN = tuple(f.name for f in fields(Outcome) if f.name not in ("corpora", "validation"))
_SETTING = ("run", "label", "parameters", "learning_rate", "temperature", "sample_length", "seed")
_LOSS = ("loss", "perplexity", "bits_per_byte")
_WHOLE = ("runs", "collapses", "median", "median_lower", "median_upper", "note")
_CURVE = ("time", "at_risk", "events", "censored", "survival", "lower", "upper")
_SURVIVAL = (*_WHOLE[:-1], *_CURVE, "note")
_TEXT = ("loop_share", "seq_rep_4", "distinct_1", "distinct_2", "compression")
_OWN = {
    "train_loss": "train.loss",
    "entropy": "probe.entropy",
    "sampling_entropy": "probe.sampling_entropy",
    **{name: f"text.{name}" for name in _TEXT},
}


def runs_table(
    groups: Groups, left_out: Mapping[str, Sequence[LeftOut]], keys: Sequence[str] = ()
) -> str:
    """A row per run; runs that are left out follow, with the reason as their status.

    A column per dotted key of `keys`, which the runs were swept over, comes after the group.
    """
    corpora = _corpora(groups)
    losses = [f"validation_{c}_{stage}" for c in corpora for stage in ("start", "collapse", "end")]
    rows = [
        {"group": group, **_swept(run, keys), **_plain(run.outcome), **_ends(run.outcome)}
        for group, runs in groups.items()
        for run in runs
    ]
    rows += [
        {"group": group, "run": run.run, "status": run.reason}
        for group, runs in left_out.items()
        for run in runs
    ]
    return _csv(("group", *keys, *_PLAIN, *losses), rows)


def updates_table(groups: Groups, keys: Sequence[str] = ()) -> str:
    """A row per run, update and corpus; corpus is empty where an update was not evaluated.

    A column per dotted key of `keys`, as in the table of runs.
    """
    columns = ("group", *keys, *_SETTING, "update", "corpus", *_LOSS, *_OWN)
    rows = (
        row
        for group, runs in groups.items()
        for run in runs
        for row in _update_rows({"group": group, **_swept(run, keys)}, run)
    )
    return _csv(columns, rows)


def survival_table(groups: Groups) -> str:
    """The Kaplan-Meier curve (95 % interval) and median of each level of each group.

    A level is what the group varies: learning rate, size, or a cell of the phase diagram.
    """
    named = {group: sort_group(group, runs) for group, runs in groups.items()}
    rows = [
        {"group": group, "level": level, **row}
        for group, levels in named.items()
        for level, members in levels.items()
        for row in _survival_rows(members)
    ]
    return _csv(("group", "level", *_SURVIVAL), rows)


def survival_of_levels(group: str, keys: Sequence[str], levels: Sequence[SettingLevel]) -> str:
    """The same curves of the levels of a sweep, with a column for each of its keys."""
    rows = [
        {"group": group, **_written(keys, level.values), "level": level.name, **row}
        for level in levels
        for row in _survival_rows(level.runs)
    ]
    return _csv(("group", *keys, "level", *_SURVIVAL), rows)


def _swept(run: Measured, keys: Sequence[str]) -> dict[str, Any]:
    return _written(keys, settings(run.config, keys))


def _written(keys: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Values as YAML has them, in which null, true and false are words."""
    known = zip(keys, values, strict=True)
    return {key: told(v) if v is None or isinstance(v, bool) else v for key, v in known}


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


def _update_rows(swept: dict[str, Any], run: Measured) -> Iterator[dict[str, Any]]:
    setting = swept | {name: getattr(run.outcome, name) for name in _SETTING}
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
    for place in range(len(found.time)):
        columns = {name: float(getattr(found, name)[place]) for name in _CURVE}
        yield {name: getattr(found, name) for name in _WHOLE} | columns


def _csv(columns: Sequence[str], rows: Any) -> str:
    text = io.StringIO()
    columns = tuple(dict.fromkeys(columns))  # a key may be called as a column of ours
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
