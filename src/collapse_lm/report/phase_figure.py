"""The phase diagram: time to the loop, and what became of the model, over rate and temperature.

Two maps per sample length. The upper one tells the median time to collapse; the lower one the
change of the validation loss at the end and the state that runs ended in, as a model can be
ruined without a loop.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from collapse_lm.analysis.levels import alike, cell, sort_by
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.profiles import NONE, common_ending
from collapse_lm.analysis.stats.survival import KaplanMeier, kaplan_meier
from collapse_lm.report.style import new_figure, paper_look, save_figure

_OPEN = "#e8e8e8"  # cells whose median is not reached, or whose loss is not known
_HARM = "////"  # over those of them in which runs ended in another state than the loop


@dataclass(frozen=True)
class Cell:
    """Runs of one sample length, temperature and learning rate.

    Attributes:
        onset: their times to collapse.
        change: median change of the validation loss at the end, nats per token; NaN if unknown.
        ending: the state that most of them ended in, or `none`.
        alike: how many did.
    """

    onset: KaplanMeier
    change: float
    ending: str
    alike: int

    @property
    def is_open(self) -> bool:
        """True where the median time to collapse is not reached."""
        return self.onset.median is None

    @property
    def ending_words(self) -> str:
        """The ending; with how many of the runs, where others ended in another way."""
        whole = self.alike == self.onset.runs
        return self.ending if whole else f"{self.ending} {self.alike}/{self.onset.runs}"


Cells = Mapping[tuple[int, float, float], Cell]  # by (sample length, temperature, rate)


@dataclass(frozen=True)
class _Map:
    """How one kind of map looks.

    Attributes:
        colours: name of a colour map.
        scale: from numbers to it.
        label: of its colour bar.
        number: of a cell; None for a cell without colour.
        words: of a cell: a larger line and a smaller one.
    """

    colours: str
    scale: Any
    label: str
    number: Callable[[Cell], float | None]
    words: Callable[[Cell], tuple[str, str]]


def phase_figure(
    runs: Sequence[Measured], folder: Path, name: str = "phase", width: float | None = None
) -> str:
    """Draw the heat maps of each sample length; return the caption.

    Args:
        runs: of the group "phase".
        folder: of the figure.
        name: of its files, without a suffix.
        width: in inches; by default what the number of cells asks for. Where that is much
            more, the maps of a kind stand one below the other.
    """
    cells = cells_of(runs)
    maps = _maps(cells)
    lengths = sorted({length for length, _, _ in cells})
    temperatures, rates = (sorted({level[i] for level in cells}) for i in (1, 2))
    with paper_look():
        figure, panels = _panels(len(maps), len(lengths), len(rates), len(temperatures), width)
        for row, kind in zip(panels, maps, strict=True):
            for axes, length in zip(row, lengths, strict=True):
                _panel(axes, cells, length, temperatures, rates, kind)
                axes.set_title(f"{length} tokens per sample")
                axes.set_xlabel("learning rate")
                axes.set_ylabel("temperature")
                axes.label_outer()
            _colour_bar(figure, row, kind)
        save_figure(figure, folder, name)
    return _caption(len(runs), has_losses=len(maps) > 1)


def cells_of(runs: Sequence[Measured]) -> dict[tuple[int, float, float], Cell]:
    """What became of the runs of each (sample length, temperature, learning rate)."""
    return {level: _cell(found) for level, found in sort_by(runs, cell).items()}


def _cell(runs: Sequence[Measured]) -> Cell:
    onset = kaplan_meier([r.outcome.time for r in runs], [r.outcome.observed for r in runs])
    changes = [change for run in runs if math.isfinite(change := run.outcome.rise)]
    return Cell(onset, median(changes) if changes else math.nan, *common_ending(runs))


def _caption(runs: int, *, has_losses: bool) -> str:
    upper = (
        f"{'Upper maps: median' if has_losses else 'Median'} update of the collapse (Kaplan-Meier) "
        f"by learning rate and temperature, {runs} runs. Below it: runs that collapsed of all runs "
        "of the cell. Grey, >N: the median is not reached, and the longest run of the cell has N "
        "updates; hatched where most runs ended in another bad state than the loop, which is "
        "named. Empty: not run, or degenerate before any training."
    )
    lower = (
        " Lower maps: change of the validation loss from the base model to the end of the run "
        "(median over runs, nats per token), and the state that the runs were in at their end "
        "(k/n: only k of n were). A run that stops when it loops is told as it was then."
    )
    return upper + (lower if has_losses else "")


# --- what is drawn -----------------------------------------------------------------------------


def _maps(cells: Cells) -> list[_Map]:
    medians = [found.onset.median for found in cells.values()]
    onset = _Map(
        colours="cividis",
        scale=_logarithmic([max(time, 1) for time in medians if time is not None]),
        label="median collapse (updates)",
        number=lambda found: None if found.onset.median is None else max(found.onset.median, 1),
        words=_onset_words,
    )
    changes = [found.change for found in cells.values() if math.isfinite(found.change)]
    if not changes:
        return [onset]
    losses = _Map(
        colours="YlOrBr",
        scale=_linear(max(changes)),
        label="validation change (nats)",
        number=lambda found: found.change if math.isfinite(found.change) else None,
        words=lambda found: (f"{found.change:+.2f}", found.ending_words),
    )
    return [onset, losses]


def _onset_words(found: Cell) -> tuple[str, str]:
    if found.onset.median is not None:
        return f"{found.onset.median:.4g}", f"{found.onset.collapses}/{found.onset.runs}"
    ending = found.ending_words if found.ending not in (NONE, "loop") else ""
    return f">{found.onset.time.max():.0f}", ending or f"{found.onset.collapses}/{found.onset.runs}"


def _logarithmic(numbers: Sequence[float]) -> Any:
    """Colours between round numbers, over the medians that are reached."""
    from matplotlib.colors import LogNorm

    return LogNorm(*round_limits(min(numbers, default=1), max(numbers, default=1)))


def _linear(most: float) -> Any:
    """Colours from no change up; what is below has the colour of none."""
    from matplotlib.colors import Normalize

    return Normalize(0, round_limits(0, max(most, 0.01) * 100)[1] / 100, clip=True)


def round_limits(low: float, high: float) -> tuple[float, float]:
    """The nearest of 1, 2, 5, 10, 20, ... at or below the one and at or above the other."""
    steps = [digit * 10.0**power for power in range(12) for digit in (1, 2, 5)]
    below = max((step for step in steps if step <= low), default=0.0)
    above = min(step for step in steps if step >= high and step > below)
    return below, above


def _panels(
    kinds: int, lengths: int, rates: int, temperatures: int, width: float | None
) -> tuple[Any, Any]:
    """A figure with a panel per kind and sample length, in rows of a kind."""
    natural = max(1.3 + lengths * max(1.6, 0.55 * rates), 3.4)
    height = 0.42 * temperatures
    if width is None or natural < 1.25 * width:
        figure = new_figure(width or natural, 0.5 + kinds * (0.6 + height))
        return figure, figure.subplots(kinds, lengths, sharex=True, sharey=True, squeeze=False)
    figure = new_figure(width, 0.7 + kinds * lengths * (0.35 + height))
    panels = figure.subplots(kinds * lengths, 1, sharex=True, squeeze=False)
    return figure, panels.reshape(kinds, lengths)


def _panel(
    axes: Any,
    cells: Cells,
    length: int,
    temperatures: Sequence[float],
    rates: Sequence[float],
    kind: _Map,
) -> None:
    for y, temperature in enumerate(temperatures):
        for x, rate in enumerate(rates):
            if (length, temperature, rate) in cells:
                _draw_cell(axes, x, y, cells[length, temperature, rate], kind)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, len(rates) - 0.5)
    axes.set_ylim(-0.5, len(temperatures) - 0.5)
    axes.set_xticks(np.arange(len(rates)), alike(rates))
    axes.set_yticks(np.arange(len(temperatures)), alike(temperatures))


def _draw_cell(axes: Any, x: int, y: int, found: Cell, kind: _Map) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    number, (above, below) = kind.number(found), kind.words(found)
    colour = _OPEN if number is None else colormaps[kind.colours](kind.scale(number))
    is_harmed = number is None and found.is_open and found.ending not in (NONE, "loop")
    edge: dict[str, Any] = {"hatch": _HARM, "edgecolor": "#b5b5b5"} if is_harmed else {}
    axes.add_patch(
        Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, linewidth=0, **edge)
    )
    ink = "black" if _luminance(colour) > 0.46 else "white"
    centred = {"ha": "center", "color": ink}
    axes.text(x, y + 0.02, above, va="bottom", fontsize=8, **centred)
    axes.text(x, y - 0.06, below, va="top", fontsize=6, **centred)


def _luminance(colour: Any) -> float:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _slim(figure: Any, rows: float) -> float:
    """Length over width of a colour bar that is as wide beside high figures as beside low ones."""
    return max(15.0 / rows, 8 * float(figure.get_figheight()) / rows)


def _colour_bar(figure: Any, panels: Any, kind: _Map) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    bar = figure.colorbar(
        ScalarMappable(kind.scale, colormaps[kind.colours]),
        ax=list(panels),
        pad=0.02,
        aspect=_slim(figure, len(figure.axes) / len(panels)),
    )
    bar.set_label(kind.label)
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
    if isinstance(kind.scale, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter(ScalarFormatter())
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
