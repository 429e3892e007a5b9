"""Train and validation loss against updates, in the manner of the paper's Figure 2."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm._util.printable import one_line, printable
from collapse_lm.measures.names import Row, label
from collapse_lm.report.style import COLOURS, exact, new_figure, save_figure

Facts = Mapping[str, Any]
OWN = "own samples"  # what `trained_on` is under source own


def draw_losses(
    rows: Sequence[Row],
    summary: Facts | None,
    manifest: Facts,
    folder: Path,
    trained_on: str = OWN,
) -> None:
    """Write losses.svg, .png and .pdf: two panels over one axis of updates.

    Args:
        rows: of the run.
        summary: of the run, None while it goes on.
        manifest: of the run.
        folder: for the files.
        trained_on: where its texts come from; empty where it has none yet. The loss of the
            probe, which the collapse rule looks at, is drawn beside that of other texts.
    """
    with exact():
        save_figure(_figure(rows, summary, manifest, printable(trained_on)), folder, "losses")


def _figure(rows: Sequence[Row], summary: Facts | None, manifest: Facts, trained_on: str) -> Any:
    figure = new_figure(7.2, 5.4)
    validation, train = figure.subplots(2, 1, sharex=True)
    names = {name for row in rows for name in row.labelled("validation.loss")}
    for colour, name in zip(COLOURS * len(names), sorted(names), strict=False):
        points = _points(rows, label("validation.loss", name))
        _line(validation, points, colour, printable(name))
    validation.set_ylabel("validation loss\n(nats per token)")
    if names:
        validation.legend(frameon=False, loc="best")
    _draw_train(train, rows, trained_on)
    train.set_xlabel("updates")
    _mark_collapse((validation, train), summary)
    figure.suptitle(_title(manifest, summary, trained_on), fontsize=10)
    return figure


def _draw_train(axes: Any, rows: Sequence[Row], trained_on: str) -> None:
    """The train loss; that of the probe too, where the texts are others."""
    is_own = trained_on in ("", OWN)
    _line(axes, _points(rows, "train.loss"), "#333333", None if is_own else "train loss")
    if not is_own:
        _line(axes, _points(rows, "probe.loss"), "#999999", "loss of own samples (probe)")
        axes.legend(frameon=False, loc="best")
    axes.set_ylim(bottom=0)
    on = one_line(trained_on, 40)
    axes.set_ylabel(f"train loss{' on ' + on if on else ''}\n(nats per token)")


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


def _title(manifest: Facts, summary: Facts | None, trained_on: str) -> str:
    model = printable(Path(manifest["model"]["reference"]).name)
    ending = printable(summary["reason"]) if summary else "running"
    told = {OWN: " trained on its own samples", "": ""}
    trained = told.get(trained_on, f" trained on {one_line(trained_on, 60)}")
    return f"{model}{trained}, seed {manifest['seed']}\n{ending}"
