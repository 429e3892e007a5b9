"""`collapse-lm report`: one page of any runs, as a file."""

from pathlib import Path
from typing import Annotated

import typer

from collapse_lm._util.printable import printable
from collapse_lm.errors import UserError
from collapse_lm.rundir.layout import REPORT


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Run directories, sweeps, or folders of runs."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File. Default: report.html in the only PATH, or here."),
    ] = None,
) -> None:
    """Write one self-contained page of runs: verdicts, curves, samples, comparisons."""
    from collapse_lm.report.page.write import write_report

    place = out or (paths[0] / REPORT if len(paths) == 1 else Path(REPORT))
    if place.is_dir():
        fix = f"-o {place / REPORT}"
        raise UserError.single(f"-o {place}", "a folder", "the name of a file", fix)
    written = write_report(paths, place)
    for notice in written.notices:
        print(printable(notice))
    if written.left_out:
        print(f"left out: {_runs(written.left_out)}, which the page names with the reason")
    print(printable(f"report {written.path}  {_runs(written.runs)}, {_size(written.size)}"))


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
