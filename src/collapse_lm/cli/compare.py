"""`collapse-lm compare`: two runs or groups of runs side by side, as text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_lm._util.printable import printable
from collapse_lm.cli.output import AsJson, show
from collapse_lm.cli.tables import Listing

if TYPE_CHECKING:
    from collapse_lm.report.page.side_by_side import Comparison


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A run, or a folder of runs.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Likewise.")],
    as_json: AsJson = False,
) -> None:
    """Compare two runs or two groups of runs: each measure, the difference and its interval.

    Runs that share seeds are paired. The difference is B less A, with a 95 % interval.
    """
    from collapse_lm.report.page.side_by_side import compare_folders

    found = compare_folders(a, b)
    if not as_json:
        for line in found.lines():
            print(printable(line))
    show(found.content(), as_json, lambda: _table(found))


def _table(found: "Comparison") -> Listing:
    from collapse_lm.report.page.compare import told_row

    told = (told_row(row, found.names) for row in found.rows)
    rows = [[printable(cell) for cell in row] for row in told]
    head = ("measure", "A", "B", "B - A", "95 % interval", "runs", "note")
    return Listing(head, rows)
