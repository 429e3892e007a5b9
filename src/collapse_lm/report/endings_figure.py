"""How the runs of each arm ended: which states, how many of the runs, and when.

A chart in the form of a table, so that it says the same in black and white.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from collapse_lm.analysis.profiles import MEANINGS, StateShare, shares_of
from collapse_lm.measures.endings import STATES
from collapse_lm.report.curve_figures import Levels
from collapse_lm.report.style import (
    WHOLE,
    WIDTH,
    NotDrawnError,
    in_full,
    is_column,
    new_figure,
    paper_look,
    save_figure,
    shown,
    shown_each,
)

_MOST = 40  # arms
_BAR = "#8fb8d8"  # light enough for black text, dark enough on white in print
_ROW = 0.3  # inches
_LINE = 0.12  # inches, of a name
_BROKEN = 8  # characters that breaking a line between words may cost


def draw_endings(levels: Levels, title: str, folder: Path, name: str, width: float = WIDTH) -> str:
    """Draw a row per arm and a column per state; return the caption.

    Args:
        levels: name of an arm -> its runs.
        title: what the arms are values of.
        folder: of the figure.
        name: of its files, without a suffix.
        width: in inches.

    Raises:
        NotDrawnError: for more arms than rows that can be read.
    """
    if len(levels) > _MOST:
        raise NotDrawnError(f"{len(levels)} values of {title}, and it has {_MOST} rows at most")
    profiles = [shares_of(runs) for runs in levels.values()]
    names = shown_each(list(levels), endings_room(width))
    wrapped = [fill(name, _letters(width)) for name in names]
    row = max(_ROW, _LINE * (1.5 + max(name.count("\n") for name in wrapped)))
    with paper_look():
        figure = new_figure(width, 0.55 + row * len(levels))
        axes = figure.subplots()
        for place, shares in enumerate(profiles):
            for column, share in enumerate(shares):
                _draw_cell(axes, column, place, share, small=is_column(width))
        _dress(axes, wrapped)
        save_figure(figure, folder, name)
    return _caption(title, profiles) + in_full(levels, names)


def endings_room(width: float) -> int:
    """Characters of the name of an arm in a figure of a width: two lines, in a column three."""
    return (3 if is_column(width) else 2) * _letters(width) - _BROKEN


def _letters(width: float) -> int:
    """Characters of a line of a name."""
    return 14 if is_column(width) else 34


def _draw_cell(axes: Any, x: int, y: int, share: StateShare, *, small: bool) -> None:
    """A frame, filled as far as runs of the arm entered the state, with how many and when."""
    from matplotlib.patches import Rectangle

    corner, height = (x - 0.46, y - 0.4), 0.8
    length = 0.92 * share.entered / share.runs if share.runs else 0.0
    axes.add_patch(Rectangle(corner, length, height, facecolor=_BAR, linewidth=0))
    frame: dict[str, Any] = {"fill": False, "edgecolor": "#999999", "linewidth": 0.4}
    axes.add_patch(Rectangle(corner, 0.92, height, **frame))
    text = "–" if not share.entered else f"{share.entered}/{share.runs}: {share.first:g}"
    text += f", {share.left} left" if share.left and not small else ""
    axes.text(x, y, text, ha="center", va="center", fontsize=5 if small else 6.5)


def _dress(axes: Any, names: Sequence[str]) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, len(STATES) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(STATES)), STATES)
    axes.set_yticks(range(len(names)), names)


def _caption(title: str, profiles: Sequence[Sequence[StateShare]]) -> str:
    runs = sum(shares[0].runs for shares in profiles)
    states = "; ".join(f"{state}: {MEANINGS[state]}" for state in STATES)
    return (
        f"Endings by {shown(title, WHOLE)}, {runs} runs. A cell is filled as far as runs of the "
        "arm got into the state; k/n: u says that k of n did, and that the median of their first "
        "updates in it is u; those that were out of it at the end have left. A run can be in "
        f"several states, and one that stops when it loops shows no later ones. {states}."
    )
