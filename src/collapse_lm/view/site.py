"""A view as files: the list, and a report of its own for every sweep and run."""

import os
from pathlib import Path

from collapse_lm._util.files import read_regular, write_atomically, writing
from collapse_lm.errors import UserError
from collapse_lm.report.page.build import PageMaker
from collapse_lm.report.page.render import render_report
from collapse_lm.view.folder import Folder
from collapse_lm.view.index import render_index

FILE = "index.html"
_OURS = b'<meta name="generator" content="collapse-lm '


def write_site(folder: Folder, out: Path) -> int:
    """Write the site of a folder that was looked at; return the number of its pages.

    OUT/index.html lists them, OUT/at/NAME/index.html is the page of the run or sweep NAME.

    Args:
        folder: with the runs.
        out: new, empty, or a site that was written before.

    Raises:
        UserError: for a place that holds something else, and a folder without runs.
        MachineError: where the disk does not take a file.
    """
    check_out(out)
    if not folder.places[""].runs:
        raise UserError.single(
            "view", f"no run in {folder.path}", "a folder that holds runs", "name another folder"
        )
    pages = [place for place in folder.places.values() if not folder.refusal(place.path)]
    for place in pages:
        maker = PageMaker([place.path], refuse=folder.refusal)
        maker.refresh()
        target = out / "at" / place.name / FILE
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, render_report(maker.page()))
    write_atomically(out / FILE, render_index(folder, file=FILE, is_live=False))
    return len(pages)


def check_out(out: Path) -> None:
    """Accept a place for a site.

    Raises:
        UserError: for one that holds something else.
    """
    if not os.path.lexists(out):
        return
    is_folder = out.is_dir()
    if is_folder and not any(out.iterdir()):
        return
    try:
        if is_folder and _OURS in read_regular(out / FILE):
            return
    except OSError:
        pass
    got = "a folder of something else" if is_folder else "a file"
    raise UserError.single(f"--static {out}", got, "a new or empty folder", "choose another place")
