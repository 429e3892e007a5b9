"""A table on one line per row, in a given width: whole names first, then what matters most. Pure.

Where there is no room, facts that all rows share are told once above the table; then texts
take their short form, or are cut; then columns are left out, the least important first. The
first column names the row and is never cut: a name that cannot be copied is no name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size

_GAP = 2  # between columns
_LEAST = 20  # characters that a cut text keeps


@dataclass(frozen=True)
class Narrowing:
    """How a table may be made narrower.

    Attributes:
        keep: columns after the first by importance, the most important first.
        share: columns that may be told once above the table.
        cut: columns of text that may be cut at their end.
        short: shorter cells of a column.
    """

    keep: Sequence[str]
    share: Sequence[str] = ()
    cut: Sequence[str] = ()
    short: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """What is shown.

    Attributes:
        shared: columns with one value for all rows, told above.
        head: lines of headers.
        lines: one per row.
        left_out: columns that are not shown, or not in full.
    """

    shared: tuple[tuple[str, str], ...]
    head: tuple[str, ...]
    lines: tuple[str, ...]
    left_out: tuple[str, ...]


def fit(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, how: Narrowing
) -> Fitted:
    """Lay out a table in so many terminal cells; only a name may be wider than that.

    Args:
        columns: headers, different ones.
        rows: cells of one line each.
        width: of the terminal.
        how: what may go.
    """
    cells = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    shared = _take_shared(cells, width, how)
    changed = _narrow(cells, width, how)
    widths = _widths(cells, width)
    lines = ([column[place] for column in cells.values()] for place in range(len(rows)))
    return Fitted(
        tuple(shared),
        tuple(_joined(line, widths.values()) for line in _head(widths)),
        tuple(_joined(line, widths.values()) for line in lines),
        tuple(name for name in columns if name in changed),
    )


def _take_shared(cells: dict[str, list[str]], width: int, how: Narrowing) -> list[tuple[str, str]]:
    """Of a table that is too wide, take out the facts in which all rows are alike.

    And columns that hold nothing.
    """
    if _needs(cells) <= width:
        return []
    for name in [name for name in how.keep if name in cells and not any(cells[name])]:
        del cells[name]
    alike = [name for name in how.share if name in cells and len(set(cells[name])) == 1]
    return [(name, cells.pop(name)[0]) for name in alike]


def _narrow(cells: dict[str, list[str]], width: int, how: Narrowing) -> set[str]:
    """Shorten, cut and drop columns until the rest fits; return those that are not whole."""
    changed: set[str] = set()
    for name in [name for name in reversed(how.keep) if name in cells and name in how.short]:
        if _needs(cells) > width and list(how.short[name]) != cells[name]:
            cells[name] = list(how.short[name])
            changed.add(name)
    fading = [name for name in reversed(how.keep) if name in cells]
    while fading and _needs(_cut_to(cells, width, how)) > width:
        del cells[fading[0]]
        changed.add(fading.pop(0))
    cut = _cut_to(cells, width, how)
    changed |= {name for name in cells if cut[name] != cells[name]}
    cells |= cut
    return changed


def _cut_to(cells: Mapping[str, list[str]], width: int, how: Narrowing) -> dict[str, list[str]]:
    """Cut texts by what the table is too wide, each to the least that it keeps at most."""
    found = dict(cells)
    for name in [name for name in reversed(how.keep) if name in cells and name in how.cut]:
        has = _width(name, cells[name])
        room = max(min(has, _LEAST), has - max(0, _needs(found) - width))
        found[name] = [_cut(cell, room) for cell in cells[name]]
    return found


def _cut(cell: str, room: int) -> str:
    return cell if cell_len(cell) <= room else set_cell_size(cell, room - 1).rstrip() + "…"


def _width(name: str, column: Sequence[str]) -> int:
    """Of a column, whose header may be folded between words."""
    return max(map(cell_len, (*name.split(), *column)), default=0)


def _needs(cells: Mapping[str, Sequence[str]]) -> int:
    return sum(_width(name, column) + _GAP for name, column in cells.items()) - _GAP


def _widths(cells: Mapping[str, Sequence[str]], width: int) -> dict[str, int]:
    """Of the columns, with headers in one line where there is room for it."""
    wide = {name: max(map(cell_len, (name, *column))) for name, column in cells.items()}
    if sum(wide.values()) + _GAP * (len(wide) - 1) <= width:
        return wide
    return {name: _width(name, column) for name, column in cells.items()}


def _head(widths: Mapping[str, int]) -> list[list[str]]:
    """The headers, as many lines as the one with the most needs, lowered to the rows."""
    folded = [_folded(name, wide) for name, wide in widths.items()]
    height = max(map(len, folded))
    raised = [[""] * (height - len(lines)) + lines for lines in folded]
    return [[lines[place] for lines in raised] for place in range(height)]


def _folded(header: str, width: int) -> list[str]:
    lines = [""]
    for word in header.split():
        wider = f"{lines[-1]} {word}".strip()
        if cell_len(wider) <= width:
            lines[-1] = wider
        else:
            lines.append(word)
    return lines


def _joined(line: Sequence[str], widths: Iterable[int]) -> str:
    padded = (cell + " " * (wide - cell_len(cell)) for cell, wide in zip(line, widths, strict=True))
    return (" " * _GAP).join(padded).rstrip()
