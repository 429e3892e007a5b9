"""One run against updates: validation and train loss as in the paper's Figure 2, and its texts."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm._util.printable import one_line, printable
from collapse_lm.measures.names import Row, label
from collapse_lm.report.style import (
    WIDTH,
    NotDrawnError,
    looks,
    new_figure,
    paper_look,
    save_figure,
    shown,
    whole_numbers,
)

Facts = Mapping[str, Any]
OWN = "own samples"  # what `trained_on` is under source own
_MARK = ". The dashed line is the collapse update, where there is one."
SHARES = {
    "text.loop_share": "inside a loop",
    "text.seq_rep_4": "repeated 4-grams",
    "text.distinct_1": "distinct tokens",
    "text.compression": "size after zlib",
}
ENTROPIES = {
    "probe.entropy": "of the model",
    "probe.sampling_entropy": "of what is drawn from",
}


def draw_losses(
    rows: Sequence[Row],
    summary: Facts | None,
    manifest: Facts,
    folder: Path,
    trained_on: str = OWN,
) -> None:
    """Write losses.svg, .png and .pdf: two panels over one axis of updates, under a title.

    Args:
        rows: of the run.
        summary: of the run, None while it goes on.
        manifest: of the run.
        folder: for the files.
        trained_on: where its texts come from; empty where it has none yet. The loss of the
            probe, which the collapse rule looks at, is drawn beside that of other texts.
    """
    with paper_look():
        figure = _losses(rows, summary, printable(trained_on), WIDTH)
        figure.suptitle(_title(manifest, summary, printable(trained_on)), fontsize=8)
        save_figure(figure, folder, "losses", dpi=200)


def plot_losses(
    rows: Sequence[Row], summary: Facts | None, trained_on: str, to: Path, width: float
) -> str:
    """Write the same without a title, as TO.svg, .png and .pdf; return its caption."""
    with paper_look():
        save_figure(_losses(rows, summary, printable(trained_on), width), to.parent, to.name)
    return f"Validation loss and train loss on {one_line(trained_on, 60)} against updates{_MARK}"


def plot_texts(rows: Sequence[Row], summary: Facts | None, to: Path, width: float) -> str:
    """Write the text measures and entropies of one run likewise.

    Raises:
        NotDrawnError: where no row has any.
    """
    with paper_look():
        figure = new_figure(width, _height(width))
        shares, entropies = figure.subplots(2, 1, sharex=True)
        drawn = _draw_named(shares, rows, SHARES) + _draw_named(entropies, rows, ENTROPIES)
        if not drawn:
            raise NotDrawnError("no update has a probe")
        shares.set_ylabel("share of the sample")
        shares.set_ylim(-0.03, 1.03)
        entropies.set_ylabel("entropy (nats)")
        entropies.set_ylim(bottom=0)
        _finish_axis((shares, entropies), summary)
        save_figure(figure, to.parent, to.name)
    return f"Text measures and mean entropy of the probes against updates{_MARK}"


def _losses(rows: Sequence[Row], summary: Facts | None, trained_on: str, width: float) -> Any:
    figure = new_figure(width, _height(width))
    validation, train = figure.subplots(2, 1, sharex=True)
    names = {name for row in rows for name in row.labelled("validation.loss")}
    for look, name in zip(looks(len(names)), sorted(names), strict=True):
        points = _points(rows, label("validation.loss", name))
        _line(validation, points, look, shown(name))
    validation.set_ylabel("validation loss\n(nats per token)")
    if names:
        validation.legend(loc="best")
    _draw_train(train, rows, trained_on)
    _finish_axis((validation, train), summary)
    return figure


def _height(width: float) -> float:
    """Of two panels, one below the other, whose labels have two lines."""
    return max(0.75 * width, 3.8)


def _finish_axis(panels: Sequence[Any], summary: Facts | None) -> None:
    whole_numbers(panels[-1].xaxis)
    panels[-1].set_xlabel("updates")
    _mark_collapse(panels, summary)


def _draw_named(axes: Any, rows: Sequence[Row], names: Mapping[str, str]) -> int:
    """Draw the names that rows have; return how many these are."""
    known = [name for name in names if any(name in row.values for row in rows)]
    for look, name in zip(looks(len(known)), known, strict=True):
        _line(axes, _points(rows, name), look, names[name])
    if known:
        axes.legend(loc="best")
    return len(known)


def _draw_train(axes: Any, rows: Sequence[Row], trained_on: str) -> None:
    """The train loss; that of the probe too, where the texts are others."""
    is_own = trained_on in ("", OWN)
    own, other = {"color": "#333333"}, {"color": "#999999", "linestyle": "--"}
    _line(axes, _points(rows, "train.loss"), own, None if is_own else "train loss")
    if not is_own:
        _line(axes, _points(rows, "probe.loss"), other, "loss of own samples (probe)")
        axes.legend(loc="best")
    axes.set_ylim(bottom=0)
    on = one_line(trained_on, 40)
    axes.set_ylabel(f"train loss{' on ' + on if on else ''}\n(nats per token)")


def _points(rows: Sequence[Row], name: str) -> list[tuple[int, float]]:
    """Update and value of every row that has a finite one."""
    points = [(row.update, row.get(name)) for row in rows]
    return [(update, value) for update, value in points if math.isfinite(value)]


def _line(
    axes: Any, known: Sequence[tuple[int, float]], look: dict[str, Any], label: str | None
) -> None:
    marker = "o" if len(known) == 1 else None
    axes.plot([x for x, _ in known], [y for _, y in known], **look, label=label, marker=marker)


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
        fontsize=7,
        color="#555555",
    )


def _title(manifest: Facts, summary: Facts | None, trained_on: str) -> str:
    model = printable(Path(manifest["model"]["reference"]).name)
    ending = printable(summary["reason"]) if summary else "running"
    told = {OWN: " trained on its own samples", "": ""}
    trained = told.get(trained_on, f" trained on {one_line(trained_on, 60)}")
    return f"{model}{trained}, seed {manifest['seed']}\n{ending}"
