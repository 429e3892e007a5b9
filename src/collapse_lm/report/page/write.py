"""report.html: made from run directories, and written as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.report.page.build import make_page
from collapse_lm.report.page.render import render_report


@dataclass(frozen=True)
class WrittenReport:
    """What was written.

    Attributes:
        path: of the page.
        size: in bytes.
        runs: shown.
        left_out: runs of which nothing could be shown.
        notices: what a reader must know beside.
    """

    path: Path
    size: int
    runs: int
    left_out: int
    notices: tuple[str, ...]


def write_report(paths: Sequence[Path], place: Path) -> WrittenReport:
    """Write a page of all runs below some paths; its folder is made where it is not there.

    Raises:
        UserError: for a path that is not there, or where none holds a run.
        MachineError: where the disk does not take the page.
    """
    page = make_page(paths)
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, render_report(page))
    content = page.content
    return WrittenReport(
        place,
        place.stat().st_size,
        len(content["runs"]),
        len(content["left_out"]),
        tuple(content["notices"]),
    )
