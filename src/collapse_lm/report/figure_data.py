"""The numbers behind each figure, as CSV in long form: it can be drawn again from them.

Pure. Names are made printable; an empty cell is what does not apply.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.analysis.curves import mean_curve
from collapse_lm.analysis.events import loop
from collapse_lm.analysis.levels import cell, size, sort_by
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.profiles import StateShare, shares_of
from collapse_lm.analysis.sizes import (
    POWERS,
    middle_amount,
    model_lines,
    rate_of,
    sized,
    times_under,
)
from collapse_lm.analysis.stats.survival import KaplanMeier, kaplan_meier
from collapse_lm.measures.names import Row, label
from collapse_lm.report.arms_figure import Axis, Panel, panels_of, series
from collapse_lm.report.phase_figure import cells_of

Levels = Mapping[str, Sequence[Measured]]
Cells = dict[str, Any]
_MEDIAN = ("median", "median_lower", "median_upper")
_CURVE = ("time", "at_risk", "events", "censored", "survival", "lower", "upper")


def rows_csv(rows: Sequence[Row], names: Sequence[str]) -> str:
    """A row per update, with those of the names that any row has."""
    known = [name for name in names if any(name in row.values for row in rows)]
    found = ({"update": r.update, **{n: r.values.get(n) for n in known}} for r in rows)
    return _csv(("update", *known), found)


def curves_csv(levels: Levels, corpora: Sequence[str]) -> str:
    """The curve of each run, and as run `mean` that of each level with its band."""
    names = [*(label("validation.loss", corpus) for corpus in corpora), "train.loss"]
    columns = ("level", "name", "run", "seed", "update", "value", "lower", "upper")
    rows = (
        row for level, runs in levels.items() for name in names for row in _curve(level, name, runs)
    )
    return _csv(columns, rows)


def _curve(level: str, name: str, runs: Sequence[Measured]) -> Iterator[Cells]:
    series = [_series(run, name) for run in runs]
    for run, values in zip(runs, series, strict=True):
        about = {"level": level, "name": name, "run": run.outcome.run, "seed": run.outcome.seed}
        yield from ({**about, "update": u, "value": value} for u, value in values.items())
    mean = mean_curve(series)
    for update, value, lower, upper in zip(
        mean.update, mean.mean, mean.lower, mean.upper, strict=True
    ):
        yield {
            **{"level": level, "name": name, "run": "mean", "update": int(update)},
            **{"value": float(value), "lower": _known(lower), "upper": _known(upper)},
        }


def _series(run: Measured, name: str) -> Mapping[int, float]:
    return run.train_loss() if name == "train.loss" else run.series(name)


def survival_csv(levels: Levels) -> str:
    """The Kaplan-Meier curve of each level, with its 95 % interval and median."""
    rows = (
        {"level": level, **_plain(found, ("runs", "collapses", *_MEDIAN)), **step}
        for level, found in ((level, _estimate(runs)) for level, runs in levels.items())
        for step in _steps(found)
    )
    return _csv(("level", "runs", "collapses", *_MEDIAN, *_CURVE), rows)


def onset_csv(runs: Sequence[Measured]) -> str:
    """A row per run of a known size: when it collapsed, beside the median of its size."""
    rows = (
        {
            **{"parameters": parameters, "model": model, "run": run.outcome.run},
            **{"seed": run.outcome.seed, "time": run.outcome.time},
            **{"observed": run.outcome.observed, **_plain(_estimate(members), _MEDIAN)},
        }
        for (parameters, model), members in sort_by(runs, size).items()
        if parameters
        for run in members
    )
    return _csv(("parameters", "model", "run", "seed", "time", "observed", *_MEDIAN), rows)


def rates_csv(runs: Sequence[Measured]) -> str:
    """A row per run: its time to the loop; then a row per model and rule: its time by its line."""
    models = model_lines(runs)
    about = {
        model.model: {
            **{"model": model.model, "parameters": model.parameters},
            "pretraining_seed": model.block,
        }
        for model in models
    }
    seen: list[Cells] = [
        {
            **about[run.outcome.model],
            **{"run": run.outcome.run, "seed": run.outcome.seed},
            **{"learning_rate": rate_of(run), "time": time.time, "observed": time.observed},
        }
        for run in sized(runs)
        for time in [loop(run)]
    ]
    middle = middle_amount(runs)
    read: list[Cells] = [
        {
            **about[model.model],
            **{"width_power": 0 - power, "learning_rate": rate, "time_by_line": time},
        }
        for power in POWERS
        for model, rate, time in times_under(power, models, middle)
    ]
    cells = ("model", "parameters", "pretraining_seed", "run", "seed", "width_power")
    return _csv((*cells, "learning_rate", "time", "observed", "time_by_line"), [*seen, *read])


def phase_csv(runs: Sequence[Measured]) -> str:
    """A row per cell: median time to collapse, runs, collapses, updates of the longest run.

    With the median change of the validation loss at the end, and the state that most of its runs
    ended in.
    """
    found = cells_of(runs)
    rows = (
        {
            **{"sample_length": length, "temperature": temperature, "learning_rate": rate},
            **_plain(found[length, temperature, rate].onset, ("runs", "collapses", *_MEDIAN)),
            "longest": max(run.outcome.time for run in members),
            "validation_change": _known(found[length, temperature, rate].change),
            "ending": found[length, temperature, rate].ending,
            "ended_so": found[length, temperature, rate].alike,
        }
        for (length, temperature, rate), members in sort_by(runs, cell).items()
    )
    cells = ("sample_length", "temperature", "learning_rate", "runs", "collapses")
    return _csv((*cells, *_MEDIAN, "longest", "validation_change", "ending", "ended_so"), rows)


def arms_csv(levels: Levels, axis: Axis) -> str:
    """Each number of the figure of arms by update or dose: of each run, and as run `mean`."""
    columns = ("level", "name", "run", "seed", axis, "value", "lower", "upper")
    panels = panels_of([run for runs in levels.values() for run in runs])
    rows = (
        row
        for level, runs in levels.items()
        for panel in panels
        for row in _arm(level, panel, runs, axis)
    )
    return _csv(columns, rows)


def _arm(level: str, panel: Panel, runs: Sequence[Measured], axis: Axis) -> Iterator[Cells]:
    name = f"change of {panel.name}" if panel.from_start else panel.name
    found = [series(panel, run, axis) for run in runs]
    for run, values in zip(runs, found, strict=True):
        about = {"level": level, "name": name, "run": run.outcome.run, "seed": run.outcome.seed}
        yield from ({**about, axis: x, "value": value} for x, value in values.items())
    mean = mean_curve(found)
    for x, value, lower, upper in zip(mean.update, mean.mean, mean.lower, mean.upper, strict=True):
        yield {
            **{"level": level, "name": name, "run": "mean", axis: float(x)},
            **{"value": float(value), "lower": _known(lower), "upper": _known(upper)},
        }


def endings_csv(levels: Levels) -> str:
    """A row per arm and state: how many runs got into it, when, and how many are out again."""
    rows = (
        {"level": level, **asdict(share)}
        for level, runs in levels.items()
        for share in shares_of(runs)
    )
    return _csv(("level", *(field.name for field in fields(StateShare))), rows)


def _estimate(runs: Sequence[Measured]) -> KaplanMeier:
    return kaplan_meier([run.outcome.time for run in runs], [run.outcome.observed for run in runs])


def _plain(found: KaplanMeier, names: Sequence[str]) -> Cells:
    return {name: getattr(found, name) for name in names}


def _steps(found: KaplanMeier) -> Iterator[Cells]:
    for place in range(len(found.time)):
        yield {name: _known(getattr(found, name)[place]) for name in _CURVE}


def _known(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _csv(columns: Sequence[str], rows: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([printable(name) for name in columns])
    for row in rows:
        cells = (row.get(name) for name in columns)
        writer.writerow([printable(v) if isinstance(v, str) else v for v in cells])
    return text.getvalue()
