"""How figures look and how they are written: one palette, three formats, equal files.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from collapse_lm._util.files import writing
from collapse_lm._util.printable import printable

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_SIGNS = ("o", "s", "^", "D", "v", "P", "X")
_LETTERS = 16  # of a legend, in an inch
_LEGEND_ROWS = 3  # for which a figure has room
_LEGEND_ROW = 0.15  # inches
SHOWN = 40  # characters of a name in a figure
WHOLE = 1000  # of one in a caption, which has room
LINES = len(COLOURS) * len(_DASHES)  # that differ
WIDTH = 5.5  # inches: the text width of the paper's format
COLUMN = 3.25  # inches: a column of a page with two
# Dates are left out, and ids in an svg come from a fixed salt: equal runs give equal files.
FORMATS: dict[str, dict[str, None]] = {
    "svg": {"Date": None},
    "png": {},
    "pdf": {"CreationDate": None},
}
_EXACT: Any = {
    "svg.hashsalt": "collapse-lm",
    "text.parse_math": False,
    "pdf.fonttype": 42,  # fonts are embedded as TrueType, which journals ask for
    "ps.fonttype": 42,
}  # a dollar in a name is no formula
_LOOK: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


class NotDrawnError(Exception):
    """A figure that the runs at hand do not give; the message says why."""


@contextmanager
def exact() -> Iterator[None]:
    """Settings under which equal data give equal files."""
    from matplotlib import rc_context

    with rc_context(_EXACT):
        yield


@contextmanager
def paper_look() -> Iterator[None]:
    """Settings of the figures of a paper, with those of `exact`."""
    from matplotlib import rc_context

    with rc_context(_EXACT | _LOOK):
        yield


def new_figure(width: float, height: float) -> Any:
    """Make a figure (inches) without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def is_column(width: float) -> bool:
    """True where a figure is so narrow that its panels stand one below the other."""
    return width < 4


def save_figure(figure: Any, folder: Path, name: str, dpi: int = 160) -> None:
    """Write folder/name.svg, .png and .pdf."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, metadata in FORMATS.items():
            figure.savefig(folder / f"{name}.{suffix}", dpi=dpi, metadata=metadata)


def looks(number: int) -> list[dict[str, Any]]:
    """Return a colour and dash for each of a number of lines; all differ up to `LINES`."""
    return [
        {"color": COLOURS[i % len(COLOURS)], "linestyle": _DASHES[i // len(COLOURS) % len(_DASHES)]}
        for i in range(number)
    ]


def whole_numbers(axis: Any) -> None:
    """Let an axis of updates have ticks at whole numbers only, also where there are few."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))


def legend_room(width: float) -> int:
    """Characters of a name in a legend that has a line for each, in a figure of a width."""
    return round(_LETTERS * width) - 8


def in_full(names: Iterable[str], labels: Iterable[str]) -> str:
    """What a caption says of names that a figure has in another form, in order, or nothing."""
    pairs = zip((shown(name, WHOLE) for name in names), labels, strict=True)
    cut = [f"{label} = {name}" for name, label in pairs if name != label]
    return f" In full: {'; '.join(cut)}." if cut else ""


def shown_each(names: Sequence[str], width: int = SHOWN) -> list[str]:
    """Make names fit for a figure as `shown` does; they lose their beginnings if ends tell them.

    Where neither does, each has its number.
    """
    short = [shown(name, width) for name in names]
    if len(set(short)) < len(names):
        whole = map(printable, names)
        short = [shown(n if len(n) <= width else f"…{n[1 - width :]}", width) for n in whole]
    if len(set(short)) < len(names):
        short = [shown(f"{place}: {name}", width) for place, name in enumerate(names, 1)]
    return short


def shown(name: str, width: int = SHOWN) -> str:
    """Make a name fit for a figure: printable, short, and in characters of its font."""
    text = printable(name)
    text = text if len(text) <= width else f"{text[: width - 1]}…"
    return "".join(c if ord(c) in _glyphs() else f"U+{ord(c):04X}" for c in text)


@cache
def _glyphs() -> frozenset[int]:
    """Characters of the default font; others would be drawn as boxes, with a warning."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def signs(number: int) -> list[str]:
    """Return a marker for each of a number of lines: what tells them apart without colours."""
    return [_SIGNS[i % len(_SIGNS)] for i in range(number)]


def line_legend(
    figure: Any, labels: Sequence[str], title: str, markers: Sequence[str] = ()
) -> None:
    """Put a legend of lines, in the order of `looks`, above a figure, which grows with it.

    Args:
        figure: whose lines they are.
        labels: one per line.
        title: what the labels are values of.
        markers: one per line, or none.
    """
    from matplotlib.lines import Line2D

    pairs = zip(looks(len(labels)), markers or ["none"] * len(labels), strict=True)
    handles = [Line2D([], [], **look, marker=one, markersize=3.5) for look, one in pairs]
    longest = max((len(label) for label in labels), default=1)
    room = round(_LETTERS * figure.get_figwidth())
    columns = max(1, min(len(labels), 6, room // (longest + 7)))  # few where labels are long
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=columns)
    further = -(-len(labels) // columns) - _LEGEND_ROWS
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * max(0, further))
