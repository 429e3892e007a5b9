"""One page of a view: made when it is asked for, made anew when its runs have changed."""

import gzip
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from collapse_lm.report.page.build import Page, PageMaker
from collapse_lm.report.page.render import render_view

ASSETS = "/assets/"
_LEVEL = 6  # of gzip


class Made:
    """A page at one moment, in the forms in which it is sent; each is made once.

    Args:
        page: what it shows.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    @cached_property
    def html(self) -> bytes:
        """The page, with its scripts beside it."""
        return render_view(self.page, ASSETS, home="/").encode("utf-8", "backslashreplace")

    @cached_property
    def json(self) -> bytes:
        """The page object, gzip."""
        text = json.dumps(self.page.content, allow_nan=False, separators=(",", ":"))
        return gzip.compress(text.encode("ascii"), _LEVEL, mtime=0)


class LivePage:
    """A page of the runs below a path. One thread at a time may use it.

    Args:
        path: of a run, a sweep, or a folder of runs.
        refuse: why a run directory is not to be read, or an empty text.
    """

    def __init__(self, path: Path, refuse: Callable[[Path], str]) -> None:
        self.path = path
        self.is_stale = True
        self._maker = PageMaker([path], live=True, most_bytes=None, refuse=refuse)
        self._made: Made | None = None

    def refresh(self) -> set[str]:
        """Read what is new; return the ids of the runs that changed.

        Raises:
            UserError: where the path is there no more.
        """
        self.is_stale = False  # before reading: what is written meanwhile is looked at again
        found = self._maker.refresh()
        self._made = None
        return found

    def made(self) -> Made:
        """The page of the last `refresh`."""
        if self._made is None:
            self._made = Made(self._maker.page())
        return self._made
