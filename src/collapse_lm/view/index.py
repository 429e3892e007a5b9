"""The list of what a folder holds: its sweeps with their runs, and the runs by themselves."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from collapse_lm._version import __version__
from collapse_lm.report.page.private import clean
from collapse_lm.report.page.render import asset, asset_names
from collapse_lm.view.folder import Folder, Place

_OWN = resources.files("collapse_lm.view") / "assets"
_STYLES = ("page.css", "index.css")
SCRIPT = "index.js"


@cache
def _template() -> Template:
    loader = PackageLoader("collapse_lm.view", "templates")
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return made.get_template("index.html.j2")


@cache
def own_asset(name: str) -> str | None:
    """The text of a script or style of the list or of a page; None for any other name."""
    if name in ("index.css", SCRIPT):
        return (_OWN / name).read_text(encoding="utf-8")
    return asset(name) if name in asset_names() else None


def render_index(folder: Folder, *, file: str = "", is_live: bool = True) -> str:
    """The list as HTML.

    Args:
        folder: as of its last look.
        file: at the end of a link: empty for a server, `index.html` for files.
        is_live: whether it follows changes.
    """
    styles = [own_asset(name) or "" for name in _STYLES] if not is_live else []
    whole = folder.places.get("")
    return str(
        _template().render(
            title=folder.path.name or "runs",
            version=__version__,
            sections=list(_sections(folder, file)),
            count=len(whole.runs) if whole else 0,
            told=_counted(folder, whole.runs) if whole else "",
            whole=link("", file),
            is_live=is_live,
            styles=styles,
        )
    )


def link(name: str, file: str = "") -> str:
    """The address of the page of a place, relative to the list."""
    path = "/".join(
        quote(part.encode("utf-8", "surrogateescape"), safe="") for part in name.split("/")
    )
    return f"at/{path}/{file}" if name else f"at/{file}"


def _sections(folder: Folder, file: str) -> Iterator[dict[str, Any]]:
    """Each sweep with its runs, then those of none."""
    sweeps = [place for place in folder.places.values() if place.kind == "sweep"]
    left = [place for place in folder.places.values() if place.kind == "run"]
    # A run belongs to the innermost: a reproduction holds sweeps.
    for sweep in sorted(sweeps, key=lambda place: -len(place.path.parts)):
        mine = [run for run in left if run.path.is_relative_to(sweep.path)]
        left = [run for run in left if run not in mine]
        yield _section(folder, sweep, mine, file)
    if left:
        yield {
            **_section(folder, None, left, file),
            "title": "Runs" if not sweeps else "Other runs",
        }


def _section(
    folder: Folder, sweep: Place | None, runs: Sequence[Place], file: str
) -> dict[str, Any]:
    paths = sweep.runs if sweep else [run.path for run in runs]
    start = f"{sweep.name}/" if sweep and sweep.name else ""
    return {
        "title": _shown(sweep.name or folder.path.name) if sweep else "",
        "href": link(sweep.name, file) if sweep else "",
        "told": _counted(folder, paths),
        "runs": [_row(folder, run, run.name.removeprefix(start), file) for run in runs],
    }


def _row(folder: Folder, run: Place, name: str, file: str) -> dict[str, Any]:
    glance = folder.glance(run.path)
    return {
        "name": _shown(name or folder.path.name),
        "href": link(run.name, file),
        "glance": glance,
        "model": clean(glance.model),
    }


def _shown(name: str) -> str:
    """A name as text: bytes that are no text become escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _counted(folder: Folder, runs: Sequence[Path]) -> str:
    """E.g. 9 runs: 2 running, 7 finished."""
    words = Counter(folder.glance(run).status.partition(":")[0] for run in runs)
    told = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    return f"{len(runs)} run{'s' * (len(runs) != 1)}: {told}"
