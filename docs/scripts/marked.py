"""The part of a page that a script renders, between two marker comments."""

import sys
from pathlib import Path


def put_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the markers of a page; ends the script where one is missing."""
    before, first, rest = page.read_text("utf-8").partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        sys.exit(f"{page} lacks the markers: expected {begin} and, after it, {end}")
    page.write_text(f"{before}{begin}{text}{end}{after}", "utf-8")
