"""What the live panel of a run shows, in the room that a terminal has: lines of text. Pure."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from rich.cells import set_cell_size
from rich.text import Text

from collapse_lm._util.fitting import Fitted, Narrowing, fit
from collapse_lm._util.printable import one_line, printable
from collapse_lm.measures.names import Row
from collapse_lm.observers.curve import Curve, braille

_CURVES = 2  # train loss and that of the first corpus
_BESIDE = 34  # columns of a curve beside the table
_NARROWEST = 24  # columns of a curve below the table
_GAP = 2
_HEIGHT = 3  # lines of a curve
_LEAST_LINES = 12  # of a panel that has room for curves below the table
_KEEP = ("train", "validation", "loop", "left", "seq-rep-4", "s", "tok/s")


class Curves:
    """The curves of a run: train loss, and validation loss on its first corpus."""

    def __init__(self) -> None:
        self._train = Curve()
        self._validation = Curve()
        self._corpus = ""

    def add(self, row: Row) -> None:
        """Take the numbers of an update."""
        if "train.loss" in row.values:
            self._train.add(row.update, float(row.values["train.loss"]))
        validation = row.labelled("validation.loss")
        self._corpus = self._corpus or next(iter(validation), "")
        if self._corpus in validation:
            self._validation.add(row.update, float(validation[self._corpus]))

    def blocks(self, width: int) -> list[list[str]]:
        """Lines of each curve that has at least two points: its title, then the drawing."""
        corpus = f"{printable(self._corpus.rpartition('/')[2])} validation"
        named = (("train", self._train), (corpus, self._validation))
        return [
            [curve_title(name, curve, width), *braille(curve.points, width, _HEIGHT)]
            for name, curve in named
            if len(curve.points) > 1
        ]


def curve_title(name: str, curve: Curve, width: int) -> str:
    """What a curve shows, with its first and newest value where there is room for them."""
    values = f"{curve.first:.3f} → {curve.last:.3f}"
    room = width - len(values) - 1
    return f"{one_line(name, room)} {values}" if room >= 5 else one_line(values, width)


def side_by_side(blocks: list[list[str]], width: int) -> list[str]:
    """Blocks of lines next to each other, each as wide as its share of the width."""
    wide = (width - _GAP * (len(blocks) - 1)) // max(1, len(blocks))
    return [
        (" " * _GAP).join(set_cell_size(line, wide) for line in row)
        for row in zip(*blocks, strict=True)
    ]


def panel_lines(
    rows: Sequence[tuple[Mapping[str, str], str]], curves: Curves | None, width: int, height: int
) -> list[Text]:
    """The table, with curves beside it or below it as there is room, or without them.

    Args:
        rows: the shown values of each update by column, and a short form of its validation loss.
        curves: of the run; None where the terminal cannot show them.
        width: columns that there are.
        height: lines that there are; the newest rows stay.
    """
    most = max(1, height - 1)
    if curves and (beside := curves.blocks(_BESIDE)[: height // (_HEIGHT + 1)]):
        table = _table(rows[-most:], width - _GAP - _BESIDE)
        if not table.left_out:
            return _beside(table, [line for block in beside for line in block], width)
    wide = (width - _GAP) // _CURVES
    below: list[str] = []
    if curves and wide >= _NARROWEST and height >= _LEAST_LINES:
        below = side_by_side(curves.blocks(wide), width)
    table = _table(rows[-max(1, most - len(below)) :], width)
    return [*_lines(table, width), *map(Text, below)]


def _table(rows: Sequence[tuple[Mapping[str, str], str]], width: int) -> Fitted:
    columns = list(rows[0][0])
    how = Narrowing(_KEEP, short={"validation": [short for _, short in rows]})
    return fit(columns, [list(cells.values()) for cells, _ in rows], width, how)


def _lines(table: Fitted, width: int) -> list[Text]:
    heads = (Text(set_cell_size(line, width), "bold") for line in table.head)
    return [*heads, *(Text(set_cell_size(line, width)) for line in table.lines)]


def _beside(table: Fitted, drawn: Sequence[str], width: int) -> list[Text]:
    """The table with the lines of the curves to its right."""
    left = _lines(table, width - _GAP - _BESIDE)
    blank = Text(" " * (width - _GAP - _BESIDE))
    pairs = zip_longest(left, drawn)
    return [Text.assemble(line or blank, " " * _GAP, curve or "") for line, curve in pairs]
