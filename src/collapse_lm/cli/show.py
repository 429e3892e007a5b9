"""A run as a command shows it: its progress, and how it ended."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live

from collapse_lm._util.printable import printable
from collapse_lm.cli.stopping import StopRequest
from collapse_lm.rundir.layout import REPORT

if TYPE_CHECKING:
    from collapse_lm.observers.base import Observer
    from collapse_lm.rundir.process import RunResult


def show_run(
    preset: str,
    settings: Sequence[str],
    out: Path | None,
    stop: StopRequest,
    *,
    opens: bool = False,
) -> None:
    """Do a run and show it; the library's notices come first.

    Args:
        preset: or a file.
        settings: overrides.
        out: run directory, or None for a new one.
        stop: asked after every update.
        opens: true opens its report at the end, where somebody sits before a display.
    """
    hear_the_library()
    from collapse_lm.rundir.session import run

    path = _show(lambda o: run(preset, out, overrides=settings, observers=[o], should_stop=stop))
    if opens and has_display() and (path / REPORT).is_file():
        import webbrowser

        webbrowser.open((path / REPORT).absolute().as_uri())


def has_display() -> bool:
    """True where a page that is opened is seen: a terminal and a display, and no CI."""
    display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    is_seen = display or sys.platform in ("darwin", "win32")
    return is_seen and sys.stdout.isatty() and not os.environ.get("CI")


def show_resumed(path: Path, settings: Sequence[str], stop: StopRequest) -> None:
    """Go on with a run and show it."""
    hear_the_library()
    from collapse_lm.rundir.session import resume

    _show(lambda o: resume(path, overrides=settings, observers=[o], should_stop=stop))


def hear_the_library() -> None:
    """Let notices of the library be printed."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("collapse_lm").setLevel(logging.INFO)


def _show(go: "Callable[[Observer], RunResult]") -> Path:
    """Show the records of a run as they come, and how it ended; return its directory."""
    result = followed(go)
    for line in _ending(result):
        print(printable(line))
    return result.directory


def followed(go: "Callable[[Observer], RunResult]") -> "RunResult":
    """Show the records of a run as they come."""
    from collapse_lm.observers.display import LivePanel, PlainLines

    console = Console()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            return go(LivePanel(live))
    return go(PlainLines(console))


def _ending(result: "RunResult") -> list[str]:
    summary, path = result.summary, result.directory
    lines = ["", str(summary["reason"])]
    if summary["collapsed"]:
        before = " (degenerate before any training)" if summary["collapse_update"] == 1 else ""
        lines.append(f"collapse update {summary['collapse_update']}{before}{_since(summary)}")
    lines += [_moment(name, losses) for name, losses in summary["validation"].items() if losses]
    if summary["status"] == "interrupted":
        lines.append(f"go on with: collapse-lm resume {path}")
    made = {
        "record": path,
        "figure": path / "figures" / "losses.png",
        "samples": path / "samples.md",
        "report": path / REPORT,
    }
    return [*lines, *(f"{name} {place}" for name, place in made.items() if place.exists())]


def _since(summary: dict[str, Any]) -> str:
    """Since when it may be, where probes were apart."""
    after, update = summary.get("collapse_after"), summary["collapse_update"]
    return "" if after is None or after == update - 1 else f" (not yet at {after}, the last probe)"


def _moment(moment: str, losses: dict[str, float | None]) -> str:
    """The losses at a moment; one that is null in the record was not a number."""
    named = ", ".join(
        f"{name} {'nan' if loss is None else format(loss, '.3f')}"
        for name, loss in losses.items()
        if name != "update"
    )
    return f"validation loss at {moment} (update {losses['update']}): {named}"
