"""The phase diagram: median time to collapse over learning rate and temperature."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collapse_lm.analysis.levels import alike, cell, sort_by
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.survival import KaplanMeier, kaplan_meier
from collapse_lm.report.style import new_figure, paper_look, save_figure

_OPEN = "#e8e8e8"  # cells whose median is not reached
Cells = dict[tuple[int, float, float], KaplanMeier]  # (sample length, temperature, rate)


def phase_figure(
    runs: Sequence[Measured], folder: Path, name: str = "phase", width: float | None = None
) -> str:
    """Draw a heat map per sample length; return the caption.

    Args:
        runs: of the group "phase".
        folder: of the figure.
        name: of its files, without a suffix.
        width: in inches; by default what the number of cells asks for. Where that is much
            more, the maps stand one below the other.
    """
    cells = cells_of(runs)
    lengths = sorted({length for length, _, _ in cells})
    temperatures, rates = (sorted({level[i] for level in cells}) for i in (1, 2))
    scale = _scale(cells)
    with paper_look():
        figure, panels = _maps(len(lengths), len(rates), len(temperatures), width)
        for axes, length in zip(panels, lengths, strict=True):
            _panel(axes, cells, length, temperatures, rates, scale)
            axes.set_title(f"{length} tokens per sample")
            axes.set_xlabel("learning rate")
            axes.set_ylabel("temperature")
            axes.label_outer()
        _colour_bar(figure, panels, scale)
        save_figure(figure, folder, name)
    return (
        f"Median update of the collapse (Kaplan-Meier) by learning rate and temperature, "
        f"{len(runs)} runs. Below it: runs that collapsed of all runs of the cell. Grey, >N: the "
        "median is not reached, and the longest run of the cell has N updates. Empty: not run, "
        "or degenerate before any training."
    )


def cells_of(runs: Sequence[Measured]) -> Cells:
    """Times to collapse by (sample length, temperature, learning rate)."""
    return {
        level: kaplan_meier([r.outcome.time for r in found], [r.outcome.observed for r in found])
        for level, found in sort_by(runs, cell).items()
    }


def _maps(lengths: int, rates: int, temperatures: int, width: float | None) -> tuple[Any, Any]:
    """A figure with a panel per sample length, beside or below one another."""
    natural = max(1.3 + lengths * max(1.6, 0.55 * rates), 3.4)
    if width is None or natural < 1.25 * width:
        figure = new_figure(width or natural, 1.1 + 0.42 * temperatures)
        return figure, figure.subplots(1, lengths, sharey=True, squeeze=False)[0]
    figure = new_figure(width, 0.7 + lengths * (0.35 + 0.42 * temperatures))
    return figure, figure.subplots(lengths, 1, sharex=True, squeeze=False)[:, 0]


def _scale(cells: Cells) -> Any:
    """Logarithmic colours over the medians that are reached, between round numbers."""
    from matplotlib.colors import LogNorm

    medians = [max(found.median, 1) for found in cells.values() if found.median is not None] or [1]
    return LogNorm(*round_limits(min(medians), max(medians)))


def round_limits(low: float, high: float) -> tuple[float, float]:
    """The nearest of 1, 2, 5, 10, 20, ... at or below the one and at or above the other."""
    steps = [digit * 10.0**power for power in range(12) for digit in (1, 2, 5)]
    below = max(step for step in steps if step <= low)
    above = min(step for step in steps if step >= high and step > below)
    return below, above


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
    axes.set_xticks(np.arange(len(rates)), alike(rates))
    axes.set_yticks(np.arange(len(temperatures)), alike(temperatures))


def _draw_cell(axes: Any, x: int, y: int, found: KaplanMeier, scale: Any) -> None:
    from matplotlib.patches import Rectangle

    colour, text = _OPEN, f">{found.time.max():.0f}"
    if found.median is not None:
        colour, text = _colours()(scale(max(found.median, 1))), f"{found.median:.4g}"
    axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, linewidth=0))
    ink = "black" if _luminance(colour) > 0.46 else "white"
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


def _slim(figure: Any) -> float:
    """Length over width of a colour bar that is as wide beside high figures as beside low ones."""
    return max(15.0, 8 * float(figure.get_figheight()))


def _colour_bar(figure: Any, panels: Any, scale: Any) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    bar = figure.colorbar(
        ScalarMappable(scale, _colours()), ax=list(panels), pad=0.02, aspect=_slim(figure)
    )
    bar.set_label("median collapse (updates)")
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
    bar.ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(ScalarFormatter())
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
