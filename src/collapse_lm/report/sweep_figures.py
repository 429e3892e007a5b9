"""The figures of a sweep over whatever keys: curves, survival, arms, endings, phase diagram."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from collapse_lm.analysis.arms import Arms, arms_of, short_arms, varied_keys
from collapse_lm.analysis.levels import PHASE
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.settings import MODEL, levels_of, short_keys
from collapse_lm.report.arms_figure import Axis, draw_arms
from collapse_lm.report.curve_figures import Levels, corpora_of, draw_curves
from collapse_lm.report.endings_figure import draw_endings, endings_room
from collapse_lm.report.figure_data import (
    arms_csv,
    curves_csv,
    endings_csv,
    onset_csv,
    phase_csv,
    rates_csv,
    survival_csv,
)
from collapse_lm.report.gallery import Figure
from collapse_lm.report.onset_figures import draw_survival, figure_3
from collapse_lm.report.phase_figure import phase_figure
from collapse_lm.report.rates_figure import draw_rates
from collapse_lm.report.style import COLUMN, NotDrawnError, legend_room

Plot = Callable[[Sequence[Measured], Path, str, float], str]
Data = Callable[[Sequence[Measured]], str]
RATE = "training.learning_rate"
Parts = dict[str, tuple[str, Sequence[Measured]]]  # suffix -> what varies in words, and runs
_ARMS = 14  # lines of one panel
_FIGURES = 4  # of one kind; of more arms law.md and endings have the numbers
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
    figures |= _figures_of_arms(keys, varied, found)
    for suffix, chosen in _splits(varied, found).items():
        figures[f"curves{suffix}"] = _curves(chosen, found)
        figures[f"survival{suffix}"] = _survival(chosen, timed, found)
    if varied == [MODEL]:
        figures["onset"] = _of_times(figure_3, onset_csv, timed, found)
    if set(varied) == {MODEL, RATE}:
        figures["rates"] = _of_times(draw_rates, rates_csv, timed, found)
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


def _figures_of_arms(
    keys: Sequence[str], varied: Sequence[str], found: Sequence[Measured]
) -> dict[str, Figure]:
    """What became of the arms: side by side where parts differ, by dose where rates do."""
    figures: dict[str, Figure] = {}
    if any(key.endswith(".kind") for key in varied):
        for suffix, (told, runs) in _parts(keys, found).items():
            figures[f"arms{suffix}"] = _arms(told, keys, runs, "update")
    for suffix, (told, runs) in _at_several_rates(keys, found).items():
        figures[f"dose{suffix}"] = _arms(told, keys, runs, "dose")
    if varied:
        figures["endings"] = _endings(_arm_title(varied), keys, found)
    return figures


def _parts(keys: Sequence[str], found: Sequence[Measured]) -> Parts:
    """All runs; where they have more arms than a figure shows, by the first key that parts them."""
    varied = varied_keys(keys, found)
    if len(arms_of(keys, found)) > _ARMS:
        for key in varied:
            levels = levels_of([key], found)
            fits = all(len(arms_of(keys, level.runs)) <= _ARMS for level in levels)
            if fits and len(levels) <= _FIGURES:
                (short,) = short_keys([key])
                return _numbered({f"{short} {level.name}": level.runs for level in levels}, keys)
    return {"": (_arm_title(varied), found)}


def _at_several_rates(keys: Sequence[str], found: Sequence[Measured]) -> Parts:
    """Runs that train and differ in nothing but the rate, where there are several rates."""
    training = [run for run in found if run.outcome.learning_rate > 0]
    others = [key for key in varied_keys(keys, training) if key != RATE]
    arms = arms_of(others, training) if RATE in keys else {}
    several = {name: runs for name, runs in arms.items() if varied_keys([RATE], runs)}
    return _numbered(several, keys) if len(several) <= _FIGURES else {}


def _numbered(parts: Arms, keys: Sequence[str]) -> Parts:
    """A part for each, numbered where there are several, and told with what it has in common."""
    found: Parts = {}
    for place, (name, runs) in enumerate(parts.items(), 1):
        title = _arm_title(varied_keys(keys, runs))
        is_alone = len(parts) == 1
        found["" if is_alone else f"-{place}"] = (title if is_alone else f"{title} ({name})", runs)
    return found


def _arm_title(keys: Sequence[str]) -> str:
    """What the arms are values of, in words."""
    return short_keys(keys)[0].replace("_", " ") if len(keys) == 1 else "arm"


def _arms(title: str, keys: Sequence[str], runs: Sequence[Measured], axis: Axis) -> Figure:
    def draw(folder: Path, name: str, width: float) -> str:
        arms, told = short_arms(keys, runs, legend_room(COLUMN))
        if len(arms) > _ARMS:
            raise NotDrawnError(f"{len(arms)} arms, and it shows {_ARMS} at most")
        if not arms:
            raise NotDrawnError("no run has ended")
        return draw_arms(arms, title, folder, name, width, axis=axis) + _left_out(told)

    return Figure(draw, lambda: arms_csv(arms_of(keys, runs), axis))


def _endings(title: str, keys: Sequence[str], runs: Sequence[Measured]) -> Figure:
    def draw(folder: Path, name: str, width: float) -> str:
        arms, told = short_arms(keys, runs, endings_room(width))
        return draw_endings(arms, title, folder, name, width) + _left_out(told)

    return Figure(draw, lambda: endings_csv(arms_of(keys, runs)))


def _left_out(told: str) -> str:
    return f" Not in the names: {told}." if told else ""


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
