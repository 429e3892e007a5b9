"""Losses against updates, in the manner of the paper's Figures 2 and 4.

Left the validation loss, right the train loss, a colour per learning rate or other setting.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm.analysis.curves import Series, mean_curve
from collapse_lm.analysis.levels import by_rate
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.report.style import (
    LINES,
    WHOLE,
    WIDTH,
    NotDrawnError,
    in_full,
    is_column,
    legend_room,
    line_legend,
    looks,
    new_figure,
    paper_look,
    save_figure,
    shown,
    shown_each,
    whole_numbers,
)

Levels = Mapping[str, Sequence[Measured]]
_RATE = "learning rate"
_SIGNS = 6  # along a line, about
_BANDS = {
    "": "",
    "range": "the band is the range of the runs (fewer than five)",
    "standard error": "the band is the mean ± one standard error over runs",
}


def figure_2(runs: Sequence[Measured], folder: Path) -> str:
    """Draw the paper's Figure 2 from runs at several learning rates; return its caption."""
    return draw_curves(by_rate(runs), _RATE, corpora_of(runs)[:1], folder, "figure2")


def figure_4(runs: Sequence[Measured], folder: Path) -> str:
    """Draw the paper's Figure 4, a row per further corpus; return its caption.

    Raises:
        NotDrawnError: where there is one corpus only.
    """
    corpora = corpora_of(runs)[1:]
    if not corpora:
        raise NotDrawnError("it shows further corpora, and the runs were evaluated on one only")
    return draw_curves(by_rate(runs), _RATE, corpora, folder, "figure4")


def draw_level(
    axes: Any,
    series: Sequence[Series],
    look: dict[str, Any],
    sign: str | None = None,
) -> str:
    """Draw each run thin, their mean thick and a band; return what the band is.

    Args:
        axes: to draw in.
        series: a value by update, or by dose, of each run.
        look: colour and dash.
        sign: a marker that stands a few times on the mean, for readers without colours.
    """
    for run in series:
        known = [(update, y) for update, y in sorted(run.items()) if math.isfinite(y)]
        axes.plot([x for x, _ in known], [y for _, y in known], **look, linewidth=0.5, alpha=0.35)
    curve = mean_curve(series)
    signs = {"marker": sign, "markevery": max(1, len(curve.update) // _SIGNS), "markersize": 3.5}
    alone = {"marker": "o"} if len(curve.update) == 1 else {}
    axes.plot(curve.update, curve.mean, **look, **(signs if sign else alone))
    axes.fill_between(
        curve.update, curve.lower, curve.upper, color=look["color"], alpha=0.15, linewidth=0
    )
    return _BANDS[curve.band]


def band_words(bands: Sequence[str]) -> str:
    """Say once what the bands of a figure are."""
    known = list(dict.fromkeys(band for band in bands if band))
    return f"; {'; or '.join(known)}" if known else ""


def draw_curves(
    levels: Levels,
    title: str,
    corpora: Sequence[str],
    folder: Path,
    name: str,
    width: float = WIDTH,
) -> str:
    """Draw the losses of runs at several levels, a row per corpus; return the caption.

    Args:
        levels: what runs have in common, in words -> these runs.
        title: what the levels are values of.
        corpora: validation corpora.
        folder: of the figure.
        name: of its files, without a suffix.
        width: in inches; in a column the train loss stands below.

    Raises:
        NotDrawnError: without a corpus, and for more levels than there are looks of lines.
    """
    check_lines(levels, title)
    if not corpora:
        raise NotDrawnError("no run was evaluated on a corpus")
    with paper_look():
        figure, validation, train = _panels_for(corpora, width)
        bands = _draw_panels(validation, train, levels, corpora)
        names = shown_each(list(levels), legend_room(width))
        line_legend(figure, names, shown(title, legend_room(width)))
        save_figure(figure, folder, name)
    return _caption(levels, title, corpora, bands) + in_full(levels, names)


def check_lines(levels: Levels, title: str) -> None:
    """Raise NotDrawnError where lines of so many levels could not be told apart."""
    if len(levels) > LINES:
        raise NotDrawnError(f"{len(levels)} values of {title}, and lines differ up to {LINES}")


def _panels_for(corpora: Sequence[str], width: float) -> tuple[Any, list[Any], list[Any]]:
    """A figure, its panels of validation loss, one per corpus, and those of train loss."""
    if is_column(width):
        figure = new_figure(width, 0.6 + 1.6 * (len(corpora) + 1))
        panels = list(figure.subplots(len(corpora) + 1, 1, sharex=True))
        validation, train, lowest = panels[:-1], panels[-1:], panels[-1:]
        train[0].set_ylabel("loss (nats per token)")
    else:
        figure = new_figure(width, 0.5 + 1.9 * len(corpora))
        rows = figure.subplots(len(corpora), 2, sharex=True, squeeze=False)
        validation, train, lowest = list(rows[:, 0]), list(rows[:, 1]), list(rows[-1])
    for axes in lowest:
        whole_numbers(axes.xaxis)
        axes.set_xlabel("updates")
    return figure, validation, train


def _draw_panels(
    validation: Sequence[Any], train: Sequence[Any], levels: Levels, corpora: Sequence[str]
) -> list[str]:
    """Draw every level in every panel; return what their bands are."""
    bands = []
    for look, runs in zip(looks(len(levels)), levels.values(), strict=True):
        for axes, corpus in zip(validation, corpora, strict=True):
            bands.append(draw_level(axes, [r.validation_loss(corpus) for r in runs], look))
        for axes in train:
            bands.append(draw_level(axes, [r.train_loss() for r in runs], look))
    for axes, corpus in zip(validation, corpora, strict=True):
        axes.set_title(f"validation: {shown(corpus)}")
        axes.set_ylabel("loss (nats per token)")
    for axes in train:
        axes.set_title(f"train: {_batch(levels)}")
        axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # a loss of 0 stays visible
    return bands


def _batch(levels: Levels) -> str:
    """What the train loss is of."""
    is_own = all(run.config.source.is_own for runs in levels.values() for run in runs)
    return "own samples" if is_own else "batch"


def _caption(levels: Levels, title: str, corpora: Sequence[str], bands: Sequence[str]) -> str:
    names, count = ", ".join(shown(corpus) for corpus in corpora), sum(map(len, levels.values()))
    texts = "the model's own samples" if _batch(levels) == "own samples" else "the batch"
    return (
        f"Loss against updates by {shown(title, WHOLE)}: validation on {names}, and train loss on "
        f"{texts}. Thin lines: the {count} runs. Thick: mean over the runs of a level while all "
        f"of them are running{band_words(bands)}."
    )


def corpora_of(runs: Sequence[Measured]) -> list[str]:
    """Every validation corpus, in the order of first appearance."""
    return list(dict.fromkeys(corpus for run in runs for corpus in run.outcome.corpora))
