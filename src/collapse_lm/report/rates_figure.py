"""Does size matter once the rate is not one and the same: times over rates, and over sizes.

A sweep over models and rates. The left panel has what was seen; the right one what the models'
own lines say of three rules by which the rate goes with the width.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collapse_lm.analysis.events import loop
from collapse_lm.analysis.levels import alike, name_parameters, name_rate
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.sizes import (
    POWERS,
    ModelLine,
    line_over_sizes,
    middle_amount,
    model_lines,
    rate_of,
    sized,
    times_under,
)
from collapse_lm.report.onset_figures import apart, size_axis
from collapse_lm.report.style import (
    LINES,
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
        runs: those with a time to collapse; those that are not `sized` are left out.
        folder: of the figure.
        name: of its files, without a suffix.
        width: in inches.

    Raises:
        NotDrawnError: with fewer than two sizes whose times tell how they go with the rate.
    """
    seen, models, middle = sized(runs), model_lines(runs), middle_amount(runs)
    told = times_under(0.0, models, middle)
    if len({one.model.parameters for one in told}) < 2:
        raise NotDrawnError("it needs models of two sizes that loop at two rates")
    sizes = list(dict.fromkeys(name_parameters(model.parameters) for model in models))
    if len(sizes) > LINES:
        raise NotDrawnError(f"{len(sizes)} sizes, and lines differ up to {LINES}")
    look_of = {
        name: look | {"marker": sign}
        for name, look, sign in zip(sizes, looks(len(sizes)), signs(len(sizes)), strict=True)
    }
    with paper_look():
        figure = new_figure(width, 4.8 if is_column(width) else 2.9)
        over_rates, over_sizes = figure.subplots(*((2, 1) if is_column(width) else (1, 2)))
        _rates_panel(over_rates, seen, models, look_of)
        _sizes_panel(over_sizes, models, middle, sorted(map(rate_of, seen)))
        size_axis(over_sizes, sorted({model.parameters for model in models}))
        line_legend(figure, sizes, "parameters", signs(len(sizes)))
        save_figure(figure, folder, name)
    return _caption(len(seen), len(models), len(told), middle)


def _caption(runs: int, models: int, lines: int, middle: float) -> str:
    without = f"; {models - lines} of the models have none" if lines < models else ""
    return (
        f"Time to the loop, {runs} runs of {models} pretrained models. Left: against the learning "
        "rate, a mark per run and a line per model whose times tell one (Gehan's fit through its "
        f"runs{without}); an open mark is a run that had not looped at that update. Right: "
        "against the size, a mark per model, read off its line, where the rate is one and the "
        "same for all widths, goes as width^-1/2, or as 1 / width; each rule gives a width of 64 "
        f"the rate {name_rate(float(f'{middle:.2g}'))}, and an open mark is at a rate beyond those "
        "that were run. Lines are least squares on logarithms with a level for each pretraining "
        "seed."
    )


def _rates_panel(
    axes: Any,
    runs: Sequence[Measured],
    models: Sequence[ModelLine],
    look_of: dict[str, dict[str, Any]],
) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    rates = sorted({rate_of(run) for run in runs})
    for run in runs:
        seen = loop(run)
        look = look_of[name_parameters(run.outcome.parameters)]
        axes.scatter(
            [rate_of(run)],
            [seen.time],
            marker=look["marker"],
            s=9,
            facecolors=look["color"] if seen.observed else "none",
            edgecolors=look["color"],
            linewidths=0.7,
            alpha=0.7,
        )
    for model in models:
        times = [model.line.time(rate) for rate in (rates[0], rates[-1])]
        if all(0 < time < math.inf for time in times):
            thin = {"linewidth": 0.8, "alpha": 0.8, "markersize": 0}
            look = look_of[name_parameters(model.parameters)] | thin
            axes.plot([rates[0], rates[-1]], times, **look)
    _logarithmic(axes)
    ticks = apart(rates, rates[-1] / rates[0])
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(alike(ticks))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("time to the loop (updates)")


def _sizes_panel(
    axes: Any, models: Sequence[ModelLine], middle: float, rates: Sequence[float]
) -> None:
    for power, sign, shade in zip(POWERS, signs(len(POWERS)), ("0.0", "0.45", "0.7"), strict=True):
        times = times_under(power, models, middle)
        for model, rate, time in times:
            fill = shade if rates[0] <= rate <= rates[-1] else "none"
            look = {"color": shade, "markerfacecolor": fill, "alpha": 0.8}
            axes.plot([model.parameters], [time], sign, markersize=3.5, **look)
        ends = sorted({one.model.parameters for one in times})
        through = line_over_sizes(times)
        axes.plot(ends, [through.time(end) for end in ends], color=shade, linewidth=1.0)
        axes.plot([], [], sign + "-", color=shade, markersize=3.5, label=_RULES[power])
    _logarithmic(axes)
    axes.set_ylabel("time to the loop (updates)")
    axes.legend(title="rate goes as", fontsize=6, title_fontsize=6)


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
