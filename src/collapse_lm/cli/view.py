"""`collapse-lm view`: a local page over a folder of runs and sweeps, while they run."""

import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from collapse_lm._util.extras import install
from collapse_lm._util.printable import printable
from collapse_lm.errors import UserError

_NEEDS = ("starlette", "uvicorn")


def view(
    folder: Annotated[Path, typer.Argument(metavar="DIR")] = Path("runs"),
    host: Annotated[
        str, typer.Option(help="Address to bind to. Any other than this lets others read.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7575,
    is_opened: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
    static: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write the same pages as files there, and end."),
    ] = None,
) -> None:
    """Show the runs and sweeps in a folder as pages that follow them while they run.

    Reads only, and answers to this machine only.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises for a name too long)
        fix = "name the folder that holds them; without --out, runs are in runs/"
        raise UserError.single("view", f"no folder {folder}", "a folder that holds runs", fix)
    if static is None:
        _serve(folder, host, port, is_opened)
    else:
        _write(folder, static, is_opened)


def _serve(folder: Path, host: str, port: int, is_opened: bool) -> None:
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        got = f"no {' and no '.join(missing)}"
        raise UserError.single("view", got, "the packages of a server", install("view"))
    from collapse_lm.view.serve import serve

    serve(folder, host, port, is_opened=is_opened)


def _write(folder: Path, out: Path, is_opened: bool) -> None:
    import webbrowser

    from collapse_lm.view.folder import Folder
    from collapse_lm.view.site import FILE, write_site

    found = Folder(folder)
    found.look()
    count = write_site(found, out)
    print(printable(f"site  {out / FILE}  ({count} pages)"))
    if is_opened:
        webbrowser.open((out / FILE).absolute().as_uri())
