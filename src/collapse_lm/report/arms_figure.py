"""The arms of a sweep side by side: what became of loss, entropy and overlap, by update or dose.

The same update rule with its sources in one figure; or the same source at several rates, whose
curves lie over one another where the dose is what counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from collapse_lm.analysis.levels import by_rate
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.measures.names import label
from collapse_lm.report.curve_figures import Levels, band_words, check_lines, draw_level
from collapse_lm.report.style import (
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
    signs,
    whole_numbers,
)

Axis = Literal["update", "dose"]
_TITLE = 70  # characters of what the arms are values of
_LABELS = {"update": "updates", "dose": "dose"}


@dataclass(frozen=True)
class Panel:
    """A number of rows that has a panel.

    Attributes:
        name: in rows; of the change of the validation loss with its corpus.
        title: above the panel.
        unit: of the vertical axis.
        from_start: true where it is told as a change since update 0.
    """

    name: str
    title: str
    unit: str
    from_start: bool = False

    def series(self, run: Measured) -> dict[int, float]:
        """The number by update."""
        found = run.series(self.name)
        if not self.from_start or not found:
            return found
        start = found[min(found)]
        return {update: value - start for update, value in found.items()}


def panels_of(runs: Sequence[Measured]) -> list[Panel]:
    """The panels that runs have numbers for."""
    loss, names = label("validation.loss", _corpus(runs)), _names(runs)
    known = [
        Panel(loss, "change of validation loss", "nats per token", from_start=True),
        Panel("probe.entropy", "entropy of probes", "nats"),
        Panel("pool.overlap", "4-grams seen before", "share"),
    ]
    return [panel for panel in known if panel.name in names]


def _names(runs: Sequence[Measured]) -> set[str]:
    return {name for run in runs for row in run.rows for name in row.values}


def _corpus(runs: Sequence[Measured]) -> str:
    """The first validation corpus; empty without one."""
    return next((corpus for run in runs for corpus in run.outcome.corpora), "")


def draw_arms(
    levels: Levels,
    title: str,
    folder: Path,
    name: str,
    width: float = WIDTH,
    *,
    axis: Axis = "update",
) -> str:
    """Draw a panel for each number, with a line and a band per arm; return the caption.

    Args:
        levels: name of an arm -> its runs.
        title: what the arms are values of.
        folder: of the figure.
        name: of its files, without a suffix.
        width: in inches; in a column the panels stand one below the other.
        axis: what they are drawn against.

    Raises:
        NotDrawnError: without a number to draw, or for more arms than there are looks.
    """
    check_lines(levels, title)
    runs = [run for members in levels.values() for run in members]
    panels = panels_of(runs)
    if not panels:
        raise NotDrawnError("no run has validation losses, entropies or overlaps")
    with paper_look():
        figure, drawn = _axes(len(panels), width)
        bands = [
            _draw(axes, panel, levels, axis) for axes, panel in zip(drawn, panels, strict=True)
        ]
        for axes in drawn if not is_column(width) else drawn[-1:]:
            axes.set_xlabel(_LABELS[axis])
        names = shown_each(list(levels), legend_room(width))
        line_legend(figure, names, shown(title, _TITLE), signs(len(names)))
        save_figure(figure, folder, name)
    told = _caption(levels, title, panels, axis, [band for found in bands for band in found])
    return told + in_full(levels, names)


def dose_figure(runs: Sequence[Measured], folder: Path) -> str:
    """Draw runs at several learning rates against their dose; return the caption."""
    trained = [run for run in runs if run.outcome.learning_rate > 0]
    if not trained:
        raise NotDrawnError("no run trained, so that none has a dose")
    return draw_arms(by_rate(trained), "learning rate", folder, "dose", axis="dose")


def _axes(count: int, width: float) -> tuple[Any, list[Any]]:
    if is_column(width):
        figure = new_figure(width, 0.8 + 1.6 * count)
        return figure, list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    figure = new_figure(width, 2.6)
    return figure, list(figure.subplots(1, count, sharex=True, squeeze=False)[0])


def _draw(axes: Any, panel: Panel, levels: Levels, axis: Axis) -> list[str]:
    """Draw every arm in a panel; return what their bands are."""
    looked = zip(looks(len(levels)), signs(len(levels)), levels.values(), strict=True)
    bands = [
        draw_level(axes, [series(panel, run, axis) for run in runs], look, sign)
        for look, sign, runs in looked
    ]
    axes.set_title(panel.title)
    axes.set_ylabel(panel.unit)
    if axis == "update":
        whole_numbers(axes.xaxis)
    else:
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    return bands


def series(panel: Panel, run: Measured, axis: Axis) -> dict[float, float]:
    """The number of a panel by update or dose."""
    found = panel.series(run)
    places: Mapping[int, float] = run.dose() if axis == "dose" else {u: u for u in found}
    return {places[update]: value for update, value in found.items()}


def _caption(
    levels: Levels, title: str, panels: Sequence[Panel], axis: Axis, bands: Sequence[str]
) -> str:
    runs = [run for members in levels.values() for run in members]
    told = "; ".join(f"{panel.title} ({panel.unit})" for panel in panels)
    against = "updates" if axis == "update" else "dose, the sum of the learning rates so far"
    is_change = panels[0].from_start
    place = f" Validation on {shown(_corpus(runs))}, against the base model." if is_change else ""
    return (
        f"By {shown(title, WHOLE)}, against {against}: {told}.{place} Thin lines: "
        f"the {len(runs)} runs. Thick: mean over the runs of an arm while all of them are "
        f"running{band_words(bands)}. A thin line ends where its run did."
    )
