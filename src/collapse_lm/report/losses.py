"""Train and validation loss against updates, in the manner of the paper's Figure 2."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.measures.names import Row, label
from collapse_lm.report.style import COLOURS, exact, new_figure, save_figure

Facts = Mapping[str, Any]


def draw_losses(rows: Sequence[Row], summary: Facts | None, manifest: Facts, folder: Path) -> None:
    """Write losses.svg, .png and .pdf: two panels over one axis of updates."""
    with exact():
        save_figure(_figure(rows, summary, manifest), folder, "losses")


def _figure(rows: Sequence[Row], summary: Facts | None, manifest: Facts) -> Any:
    figure = new_figure(7.2, 5.4)
    validation, train = figure.subplots(2, 1, sharex=True)
    names = {name for row in rows for name in row.labelled("validation.loss")}
    for colour, name in zip(COLOURS * len(names), sorted(names), strict=False):
        points = _points(rows, label("validation.loss", name))
        _line(validation, points, colour, printable(name))
    validation.set_ylabel("validation loss\n(nats per token)")
    if names:
        validation.legend(frameon=False, loc="best")
    _line(train, _points(rows, "train.loss"), "#333333", None)
    train.set_ylim(bottom=0)
    train.set_ylabel("train loss on own samples\n(nats per token)")
    train.set_xlabel("updates")
    _mark_collapse((validation, train), summary)
    figure.suptitle(_title(manifest, summary), fontsize=10)
    return figure


def _points(rows: Sequence[Row], name: str) -> list[tuple[int, float]]:
    """Update and value of every row that has a finite one."""
    points = [(row.update, row.get(name)) for row in rows]
    return [(update, value) for update, value in points if math.isfinite(value)]


def _line(axes: Any, known: Sequence[tuple[int, float]], colour: str, label: str | None) -> None:
    marker = "o" if len(known) == 1 else None
    axes.plot(
        [x for x, _ in known], [y for _, y in known], color=colour, label=label, marker=marker
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_collapse(panels: Sequence[Any], summary: Facts | None) -> None:
    update = summary and summary["collapse_update"]
    if not update:
        return
    for axes in panels:
        axes.axvline(update, color="#888888", linestyle="--", linewidth=1)
    panels[-1].annotate(
        f"collapse, update {update}",
        xy=(update, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        rotation=90,
        fontsize=8,
        color="#555555",
    )


def _title(manifest: Facts, summary: Facts | None) -> str:
    model = printable(Path(manifest["model"]["reference"]).name)
    ending = printable(summary["reason"]) if summary else "running"
    return f"{model} trained on its own samples, seed {manifest['seed']}\n{ending}"
