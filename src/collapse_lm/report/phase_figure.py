"""The phase diagram: median time to collapse over learning rate and temperature."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collapse_lm.analysis.levels import cell, name_rate, sort_by
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.survival import KaplanMeier, kaplan_meier
from collapse_lm.report.style import new_figure, paper_look, save_figure

_OPEN = "#e8e8e8"  # cells whose median is not reached
Cells = dict[tuple[int, float, float], KaplanMeier]  # (sample length, temperature, rate)


def phase_figure(runs: Sequence[Measured], folder: Path) -> str:
    """Draw a heat map per sample length; return the caption."""
    cells = {
        level: kaplan_meier([r.outcome.time for r in found], [r.outcome.observed for r in found])
        for level, found in sort_by(runs, cell).items()
    }
    lengths, temperatures, rates = (sorted({level[i] for level in cells}) for i in range(3))
    scale = _scale(cells)
    with paper_look():
        width = 1.3 + len(lengths) * max(1.6, 0.55 * len(rates))
        figure = new_figure(max(width, 3.4), 1.1 + 0.42 * len(temperatures))
        panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
        for axes, length in zip(panels, lengths, strict=True):
            _panel(axes, cells, length, temperatures, rates, scale)
            axes.set_title(f"{length} tokens per sample")
        panels[0].set_ylabel("temperature")
        _colour_bar(figure, panels, scale)
        save_figure(figure, folder, "phase")
    return (
        f"Median update of the collapse (Kaplan-Meier) by learning rate and temperature, "
        f"{len(runs)} runs. Below it: runs that collapsed of all runs of the cell. Grey, >N: the "
        "median is not reached, and the longest run of the cell has N updates. Empty: not run, "
        "or degenerate before any training."
    )


def _scale(cells: Cells) -> Any:
    """Logarithmic colours over the medians that are reached."""
    from matplotlib.colors import LogNorm

    medians = [max(found.median, 1) for found in cells.values() if found.median is not None] or [1]
    low, high = min(medians), max(medians)
    return LogNorm(low, high if high > low else low * 1.01)


def _panel(
    axes: Any,
    cells: Cells,
    length: int,
    temperatures: Sequence[float],
    rates: Sequence[float],
    scale: Any,
) -> None:
    for y, temperature in enumerate(temperatures):
        for x, rate in enumerate(rates):
            if (length, temperature, rate) in cells:
                _draw_cell(axes, x, y, cells[length, temperature, rate], scale)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, len(rates) - 0.5)
    axes.set_ylim(-0.5, len(temperatures) - 0.5)
    axes.set_xticks(np.arange(len(rates)), [name_rate(rate) for rate in rates])
    axes.set_yticks(np.arange(len(temperatures)), [f"{value:g}" for value in temperatures])
    axes.set_xlabel("learning rate")


def _draw_cell(axes: Any, x: int, y: int, found: KaplanMeier, scale: Any) -> None:
    from matplotlib.patches import Rectangle

    colour, text = _OPEN, f">{found.time.max():.0f}"
    if found.median is not None:
        colour, text = _colours()(scale(max(found.median, 1))), f"{found.median:.4g}"
    axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, linewidth=0))
    ink = "black" if _luminance(colour) > 0.4 else "white"
    centred = {"ha": "center", "color": ink}
    axes.text(x, y + 0.02, text, va="bottom", fontsize=8, **centred)
    axes.text(x, y - 0.06, f"{found.collapses}/{found.runs}", va="top", fontsize=6, **centred)


def _colours() -> Any:
    from matplotlib import colormaps

    return colormaps["cividis"]


def _luminance(colour: Any) -> float:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _colour_bar(figure: Any, panels: Any, scale: Any) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    bar = figure.colorbar(ScalarMappable(scale, _colours()), ax=list(panels), pad=0.02)
    bar.set_label("median collapse (updates)")
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
    bar.ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(ScalarFormatter())
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
