"""A page as HTML: readable as it is, and what its scripts need to do more.

`render_report` gives one file that holds everything; `render_view` the same page with its
data and scripts beside it. Names and texts are escaped by Jinja2, data cannot end its element.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from collapse_lm.report.page.blocks import inlined, script_json
from collapse_lm.report.page.build import Page
from collapse_lm.report.page.static import static_view

_ASSETS = resources.files("collapse_lm.report.page") / "assets"
_ORDER = "ORDER"
_LICENCE = "vendor/LICENSE"  # of uPlot, which goes wherever a copy of it goes


@cache
def asset_names() -> tuple[str, ...]:
    """Scripts and styles of a page, in the order in which they stand in it."""
    lines = (_ASSETS / _ORDER).read_text(encoding="utf-8").split()
    return tuple(name for name in lines if (_ASSETS / name).is_file())


@cache
def asset(name: str) -> str:
    """The text of a script or a style."""
    return (_ASSETS / name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    loader = PackageLoader("collapse_lm.report.page", "templates")
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_report(page: Page) -> str:
    """One file that holds everything and asks nothing of any network."""
    scripts = [asset(name) for name in asset_names() if name.endswith(".js")]
    styles = [asset(name) for name in asset_names() if name.endswith(".css")]
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            page=page.content,
            static=static_view(page),
            policy=policy(scripts),
            styles=[_raw(style, "style") for style in styles],
            scripts=[_raw(script, "script") for script in scripts],
            licence=_raw(asset(_LICENCE), "script"),
            data=Markup(script_json(page.content)),
            blocks=_inlined(page.blocks),
        )
    )


def render_view(page: Page, assets: str = "assets/", home: str = "") -> str:
    """The same page, which gets its data from `page.json` and `block/ID` beside it.

    Args:
        page: what is static in it is shown until its scripts run.
        assets: where the scripts and styles are (`asset_names`), relative to the page.
        home: address of the list of all pages, where there is one.
    """
    names = asset_names()
    return (
        _templates()
        .get_template("view.html.j2")
        .render(
            page=page.content,
            home=home,
            static=static_view(page),
            styles=[assets + name for name in names if name.endswith(".css")],
            scripts=[assets + name for name in names if name.endswith(".js")],
        )
    )


def policy(scripts: list[str]) -> str:
    """The content security policy of a report: its own scripts, and nothing from elsewhere."""
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; worker-src blob:; connect-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _raw(text: str, element: str) -> Markup:
    """What is ours and stands in an element as it is."""
    is_whole = f"</{element}" not in text.lower() and "<!--" not in text
    assert is_whole, f"an asset that would end its own {element} element"
    return Markup(text)


def _inlined(blocks: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """(id, base64) of each block, one at a time."""
    return ((name, inlined(block)) for name, block in blocks.items())
