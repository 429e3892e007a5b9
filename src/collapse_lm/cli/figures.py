"""`collapse-lm figures`: the figures of a run or of a sweep, as a paper needs them."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_lm._util.printable import printable
from collapse_lm.errors import UserError

if TYPE_CHECKING:
    from collapse_lm.report.paper_figures import PaperFigures
    from collapse_lm.rundir import RunReader

_LOG = logging.getLogger(__name__)


class Style(StrEnum):
    """How figures look."""

    paper = "paper"


def figures(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A run, a sweep, or any folder.")],
    style: Annotated[Style, typer.Option(help="Of the figures.")] = Style.paper,
    out: Annotated[Path | None, typer.Option(help="Default: PATH/figures/paper.")] = None,
) -> None:
    """Write PDF, SVG and PNG at text and column width, with the numbers behind each as CSV."""
    from collapse_lm.rundir import find_runs
    from collapse_lm.rundir.frames import reading

    readers = find_runs(path) if path.is_dir() else []
    if not readers:
        expected = "a run, a sweep, or a folder that holds runs"
        raise UserError.single("figures", path, expected, "`collapse-lm ls DIR` lists them")
    place = out or path / "figures" / style
    if len(readers) == 1:
        with reading(readers[0]):
            _tell(_of_run(readers[0], place))
    else:
        _tell(_of_runs(path, readers, place))


def _of_run(reader: "RunReader", out: Path) -> "PaperFigures":
    from collapse_lm.report.paper_figures import figures_of_run

    return figures_of_run(reader, out)


def _of_runs(folder: Path, readers: "list[RunReader]", out: Path) -> "PaperFigures":
    """By the keys that a sweep is over, in its order; of other folders by those that differ."""
    from collapse_lm.analysis.outcomes import measure_runs
    from collapse_lm.analysis.settings import differing
    from collapse_lm.report.paper_figures import figures_of_runs
    from collapse_lm.sweeps import SweepFolder
    from collapse_lm.sweeps.groups import group_of

    if (folder / "sweep.yaml").is_file():
        plan = SweepFolder(folder).plan()
        group = group_of(plan.varied) if plan.varied else None
        return figures_of_runs(plan.keys, group, readers, out)
    keys = differing(measure_runs(readers)[0])
    return figures_of_runs(keys, group_of(keys) if keys else None, readers, out)


def _tell(found: "PaperFigures") -> None:
    for run in found.left_out:
        _LOG.warning("left out: %s: %s", run.run, run.reason)
    for name, why in found.not_drawn.items():
        print(printable(f"not drawn: {name}: {why}"))
    for file in found.files:
        if file.suffix == ".csv":
            print(printable(f"{file.stem}  {file.with_suffix('.pdf')}"))
    print(printable(f"captions  {found.files[-1]}"))
