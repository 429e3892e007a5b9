"""When runs collapse: by model size (the paper's Figure 3), and as survival curves."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collapse_lm.analysis.levels import by_rate, name_parameters, size, sort_by
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.survival import KaplanMeier, kaplan_meier
from collapse_lm.report.curve_figures import Levels as NamedLevels
from collapse_lm.report.curve_figures import band_words, check_lines, draw_level
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
    whole_numbers,
)

Levels = dict[Any, list[Measured]]  # by (parameters, model)
_BESIDE = 0.035  # of the axis: how far the median stands to the right of its runs


def figure_3(
    runs: Sequence[Measured], folder: Path, name: str = "figure3", width: float = WIDTH
) -> str:
    """Draw size against the onset of collapse, and loss curves by size; return the caption.

    Raises:
        NotDrawnError: where no size is known.
    """
    sized = [run for run in runs if run.outcome.parameters]
    if not sized:
        raise NotDrawnError("no run tells the number of parameters of its model")
    levels = sort_by(sized, size)
    corpus = next((run.outcome.corpora[0] for run in sized if run.outcome.corpora), "")
    with paper_look():
        figure = new_figure(width, 4.4 if is_column(width) else 2.6)
        onset, losses = figure.subplots(*((2, 1) if is_column(width) else (1, 2)))
        _onset_panel(onset, levels)
        bands = _loss_panel(losses, levels, corpus)
        line_legend(figure, _size_labels(levels), "parameters")
        save_figure(figure, folder, name)
    return (
        f"Left: update of the collapse by number of parameters, {len(sized)} runs; an open "
        "triangle is a run that had not collapsed at that update. Black: Kaplan-Meier median, no "
        "mark where it is not reached; a line is its 95 % interval (Brookmeyer-Crowley), left out "
        "where it has no upper limit, as with six runs or fewer. Right: "
        f"validation loss on {shown(corpus)} by size, thin lines runs, thick their mean while all "
        f"are running{band_words(bands)}."
    )


def survival_figure(runs: Sequence[Measured], folder: Path) -> str:
    """Draw the Kaplan-Meier curve of each learning rate; return the caption."""
    return draw_survival(by_rate(runs), "learning rate", folder, "survival")


def draw_survival(
    levels: NamedLevels, title: str, folder: Path, name: str, width: float = WIDTH
) -> str:
    """Draw the Kaplan-Meier curve of runs at several levels (see `draw_curves`)."""
    check_lines(levels, title)
    with paper_look():
        figure = new_figure(width, 2.8)
        axes = figure.subplots()
        for look, members in zip(looks(len(levels)), levels.values(), strict=True):
            _survival_line(axes, _estimate(members), look)
        axes.set_xlim(left=0)
        axes.set_ylim(-0.02, 1.05)
        whole_numbers(axes.xaxis)
        axes.set_xlabel("updates")
        axes.set_ylabel("share of runs not collapsed")
        names = shown_each(list(levels), legend_room(width))
        labels = [f"{n} ({len(found)})" for n, found in zip(names, levels.values(), strict=True)]
        line_legend(figure, labels, f"{shown(title, legend_room(width))} (runs)")
        save_figure(figure, folder, name)
    count = sum(map(len, levels.values()))
    return (
        f"Share of runs that have not collapsed, by {shown(title, WHOLE)} (Kaplan-Meier, {count} "
        "runs); bands are pointwise 95 % intervals (log-log), undefined where the share is 1 or 0; "
        f"a tick marks a run that ended without a collapse.{in_full(levels, names)}"
    )


def _onset_panel(axes: Any, levels: Levels) -> None:
    latest = max(run.outcome.time for runs in levels.values() for run in runs)
    top, beside = 1.1 * max(latest, 1), _span([parameters for parameters, _ in levels]) ** _BESIDE
    axes.set_ylim(0, top)
    for look, ((parameters, _), runs) in zip(looks(len(levels)), levels.items(), strict=True):
        for observed, marker, fill in ((True, "o", look["color"]), (False, "^", "none")):
            times = [r.outcome.time for r in runs if r.outcome.observed is observed]
            axes.scatter(
                [parameters] * len(times),
                times,
                marker=marker,
                s=18,
                facecolors=fill,
                edgecolors=look["color"],
                linewidths=0.9,
                alpha=0.8,
                zorder=3,
            )
        _median_mark(axes, parameters * beside, _estimate(runs))
    size_axis(axes, [parameters for parameters, _ in levels])
    whole_numbers(axes.yaxis)
    axes.set_ylabel("onset of collapse (updates)")


def _median_mark(axes: Any, x: float, found: KaplanMeier) -> None:
    """Draw the median, and its interval where that has both limits."""
    if found.median is None:
        return
    if found.median_lower is not None and found.median_upper is not None:
        limits = [found.median_lower, found.median_upper]
        axes.plot([x, x], limits, color="black", linewidth=0.9, zorder=4)
    axes.plot([x], [found.median], marker="D", markersize=3.5, color="black", zorder=5)


def size_axis(axes: Any, sizes: Sequence[int]) -> None:
    """Let x be the number of parameters, with a tick at each of the sizes that has room."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    span = _span(sizes)
    axes.set_xlim(min(sizes) / span**0.12, max(sizes) * span**0.12)
    ticks = apart(sizes, span)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([name_parameters(int(tick)) for tick in ticks])
    axes.set_xlabel("parameters")


def _span(sizes: Sequence[int]) -> float:
    """Largest size over the smallest; at least 4, so that one size has an axis too."""
    return float(max(max(sizes) / min(sizes), 4))


def apart(numbers: Sequence[float], span: float) -> list[float]:
    """Those of some numbers in order whose labels on a logarithmic axis have room.

    The first is among them, and the last, where both have room.
    """
    room, kept = 0.2 * math.log(span), [numbers[0]]
    for number in numbers[1:-1]:
        if min(math.log(number / kept[-1]), math.log(numbers[-1] / number)) > room:
            kept.append(number)
    return [*kept, *(n for n in numbers[-1:] if math.log(n / kept[-1]) > room)]


def _size_labels(levels: Levels) -> list[str]:
    """Name sizes; with their models where two models have the same number of parameters."""
    names = [name_parameters(parameters) for parameters, _ in levels]
    if len(set(names)) == len(names):
        return names
    models = [shown(runs[0].outcome.label, 20) for runs in levels.values()]
    return [f"{model} ({name})" for model, name in zip(models, names, strict=True)]


def _loss_panel(axes: Any, levels: Levels, corpus: str) -> list[str]:
    bands = [
        draw_level(axes, [run.validation_loss(corpus) for run in runs], look)
        for look, runs in zip(looks(len(levels)), levels.values(), strict=True)
    ]
    whole_numbers(axes.xaxis)
    axes.set_xlabel("updates")
    axes.set_ylabel(f"validation loss, {shown(corpus, 20)}\n(nats per token)")
    return bands


def _survival_line(axes: Any, found: KaplanMeier, look: dict[str, Any]) -> None:
    """Draw a step curve from (0, 1) with its band and a tick per censored run."""
    time = np.concatenate([[0.0], found.time])
    survival, lower, upper = (
        np.concatenate([[1.0], column]) for column in (found.survival, found.lower, found.upper)
    )
    axes.step(time, survival, where="post", **look)
    # fill_between(step="post") would drop a step whose neighbour to the right has no band
    place, low, high = np.repeat(time, 2)[1:], np.repeat(lower, 2)[:-1], np.repeat(upper, 2)[:-1]
    axes.fill_between(place, low, high, color=look["color"], alpha=0.1, linewidth=0)
    ended = found.censored > 0
    axes.plot(
        found.time[ended], found.survival[ended], "|", color=look["color"], markersize=7, zorder=4
    )


def _estimate(runs: Sequence[Measured]) -> KaplanMeier:
    return kaplan_meier([r.outcome.time for r in runs], [r.outcome.observed for r in runs])
