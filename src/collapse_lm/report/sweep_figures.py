"""The figures of a sweep over whatever keys: curves, survival, onset by size, phase diagram."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from collapse_lm.analysis.levels import PHASE
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.settings import MODEL, levels_of, short_keys
from collapse_lm.report.curve_figures import Levels, corpora_of, draw_curves
from collapse_lm.report.figure_data import curves_csv, onset_csv, phase_csv, survival_csv
from collapse_lm.report.gallery import Figure
from collapse_lm.report.onset_figures import draw_survival, figure_3
from collapse_lm.report.phase_figure import phase_figure
from collapse_lm.report.style import NotDrawnError

Plot = Callable[[Sequence[Measured], Path, str, float], str]
Data = Callable[[Sequence[Measured]], str]
_TOGETHER = 12  # combinations of several keys that one figure shows


def sweep_figures(
    keys: Sequence[str],
    group: str | None,
    found: Sequence[Measured],
    timed: Sequence[Measured],
) -> dict[str, Figure]:
    """The figures that runs give, by name; drawing one may still raise NotDrawnError.

    Args:
        keys: dotted, that the runs were swept over.
        group: "learning rate", "size" or "phase" where they vary that.
        found: all runs, of which curves are.
        timed: those that have a time to collapse.
    """
    varied = [key for key in keys if len(levels_of([key], found)) > 1]
    figures: dict[str, Figure] = {}
    for suffix, chosen in _splits(varied, found).items():
        figures[f"curves{suffix}"] = _curves(chosen, found)
        figures[f"survival{suffix}"] = _survival(chosen, timed, found)
    if varied == [MODEL]:
        figures["onset"] = _of_times(figure_3, onset_csv, timed, found)
    if group == PHASE and len(varied) > 1:
        figures["phase"] = _of_times(phase_figure, phase_csv, timed, found)
    return figures


def _splits(varied: Sequence[str], found: Sequence[Measured]) -> dict[str, list[str]]:
    """Suffix of a figure -> keys whose values it tells apart; others are pooled."""
    if len(varied) < 2 or len(levels_of(varied, found)) <= _TOGETHER:
        return {"": list(varied)}
    return {f"-{short}": [key] for short, key in zip(short_keys(varied), varied, strict=True)}


def _curves(keys: Sequence[str], found: Sequence[Measured]) -> Figure:
    def draw(folder: Path, name: str, width: float) -> str:
        _require(found, found)
        levels, corpora = _levels(keys, found), corpora_of(found)
        return draw_curves(levels, _title(keys), corpora, folder, name, width)

    return Figure(draw, lambda: curves_csv(_levels(keys, found), corpora_of(found)))


def _survival(keys: Sequence[str], timed: Sequence[Measured], found: Sequence[Measured]) -> Figure:
    def draw(folder: Path, name: str, width: float) -> str:
        _require(timed, found)
        return draw_survival(_levels(keys, timed), _title(keys), folder, name, width)

    return Figure(draw, lambda: survival_csv(_levels(keys, timed)))


def _of_times(
    plot: Plot, data: Data, timed: Sequence[Measured], found: Sequence[Measured]
) -> Figure:
    def draw(folder: Path, name: str, width: float) -> str:
        _require(timed, found)
        return plot(timed, folder, name, width)

    return Figure(draw, partial(data, timed))


def _require(runs: Sequence[Measured], found: Sequence[Measured]) -> None:
    """Say why there is no figure where there are no runs for it."""
    if not runs:
        why = "every run was degenerate before any training" if found else "no run has ended"
        raise NotDrawnError(why)


def _levels(keys: Sequence[str], runs: Sequence[Measured]) -> Levels:
    return {level.name: level.runs for level in levels_of(keys, runs)}


def _title(keys: Sequence[str]) -> str:
    return ", ".join(keys if len(keys) < 2 else short_keys(keys)) or "setting"
