"""Does size matter once the rate is not one and the same: times over rates, and over sizes.

A sweep over models and rates. The left panel has what was seen; the right one what the models'
own lines say of three rules by which the rate goes with the width.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collapse_lm.analysis.events import loop
from collapse_lm.analysis.levels import alike, name_parameters
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.sizes import (
    POWERS,
    ModelLine,
    effects_of_size,
    middle_amount,
    model_lines,
    rate_of,
    times_under,
)
from collapse_lm.report.onset_figures import apart, size_axis
from collapse_lm.report.style import (
    WIDTH,
    NotDrawnError,
    is_column,
    line_legend,
    looks,
    new_figure,
    paper_look,
    save_figure,
    signs,
)

_RULES = {0.0: "one rate", 0.5: "width^-1/2", 1.0: "1 / width"}


def draw_rates(
    runs: Sequence[Measured], folder: Path, name: str = "rates", width: float = WIDTH
) -> str:
    """Draw time to the loop against the rate and against size; return the caption.

    Args:
        runs: of models whose reference tells their width, those with a time to collapse.
        folder: of the figure.
        name: of its files, without a suffix.
        width: in inches.

    Raises:
        NotDrawnError: with fewer than two sizes at two rates.
    """
    models = [m for m in model_lines(runs) if math.isfinite(m.line.slope)]
    effects = effects_of_size(runs)[: len(POWERS)]
    if not effects or not models:
        raise NotDrawnError("it needs runs of two sizes that loop, at two rates")
    widths = sorted({(m.parameters, m.width) for m in models})
    with paper_look():
        figure = new_figure(width, 4.8 if is_column(width) else 2.9)
        over_rates, over_sizes = figure.subplots(*((2, 1) if is_column(width) else (1, 2)))
        look_of = dict(zip(widths, looks(len(widths)), strict=True))
        _rates_panel(over_rates, runs, models, look_of)
        _sizes_panel(over_sizes, models, middle_amount(runs))
        size_axis(over_sizes, [parameters for parameters, _ in widths])
        line_legend(figure, [name_parameters(count) for count, _ in widths], "parameters")
        save_figure(figure, folder, name)
    return _caption(len(runs), len(models))


def _caption(runs: int, models: int) -> str:
    return (
        f"Time to the loop, {runs} runs of {models} pretrained models. Left: against the learning "
        "rate, a mark per run and a line per model (Gehan's fit through its runs); an open "
        "triangle is a run that had not looped at that update. Right: against the size, a mark "
        "per model, read off its line, where the rate is one and the same for all widths, goes as "
        "width^-1/2, or as 1 / width (the same rate at width 64 under each rule); lines are least "
        "squares on logarithms."
    )


def _rates_panel(
    axes: Any,
    runs: Sequence[Measured],
    models: Sequence[ModelLine],
    look_of: dict[tuple[int, int], dict[str, Any]],
) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    rates = sorted({rate_of(run) for run in runs if rate_of(run) > 0})
    by_model = {model.model: model for model in models}
    for run in runs:
        model, seen = by_model.get(run.outcome.model), loop(run)
        if model is None or not seen.time or rate_of(run) <= 0:
            continue
        colour = look_of[model.parameters, model.width]["color"]
        marker, fill = ("o", colour) if seen.observed else ("^", "none")
        axes.scatter(
            [rate_of(run)],
            [seen.time],
            marker=marker,
            s=9,
            facecolors=fill,
            edgecolors=colour,
            linewidths=0.7,
            alpha=0.7,
        )
    for model in models:
        ends = [rates[0], rates[-1]]
        look = look_of[model.parameters, model.width] | {"linewidth": 0.8, "alpha": 0.8}
        axes.plot(ends, [model.line.time(rate) for rate in ends], **look)
    _logarithmic(axes)
    ticks = apart(rates, rates[-1] / rates[0])
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(alike(ticks))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("time to the loop (updates)")


def _sizes_panel(axes: Any, models: Sequence[ModelLine], middle: float) -> None:
    for power, sign, shade in zip(POWERS, signs(len(POWERS)), ("0.0", "0.45", "0.7"), strict=True):
        times = times_under(power, models, middle)
        x = [model.parameters for model, _ in times]
        y = [time for _, time in times]
        axes.plot(x, y, sign, markersize=3.5, color=shade, alpha=0.8)
        if (fit := _fit(x, y)) is not None:
            axes.plot(*fit, color=shade, linewidth=1.0)
        axes.plot([], [], sign + "-", color=shade, markersize=3.5, label=_RULES[power])
    _logarithmic(axes)
    axes.set_ylabel("time to the loop (updates)")
    axes.legend(title="rate goes as", fontsize=6, title_fontsize=6)


def _fit(x: Sequence[int], y: Sequence[float]) -> tuple[list[int], list[float]] | None:
    """The line through logarithms, from the smallest x to the largest; None with one x."""
    if len(set(x)) < 2:
        return None
    slope, at_1 = np.polyfit(np.log(x), np.log(y), 1)
    ends = [min(x), max(x)]
    return ends, [float(np.exp(at_1 + slope * np.log(end))) for end in ends]


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
