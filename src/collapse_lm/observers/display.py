"""Progress of one run: a live panel on a terminal, plain lines elsewhere."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from collapse_lm._util.printable import one_line, printable
from collapse_lm.cli.stopping import StopRequest
from collapse_lm.config import Config
from collapse_lm.rundir import UpdateRecord

if TYPE_CHECKING:
    from collapse_lm.rundir.session import RunResult

_LINES = 12  # updates that stay visible in the live table


class Progress(Protocol):
    """Takes records as they come."""

    def __call__(self, record: UpdateRecord) -> None:
        """Show a record."""


def show_run(config: Config, out: Path, stop: StopRequest) -> None:
    """Do a run and show it; the library's notices come first."""
    _hear_the_library()
    from collapse_lm.rundir.session import run

    _show(config, lambda observer: run(config, out, observers=[observer], should_stop=stop))


def show_resumed(path: Path, settings: Sequence[str], stop: StopRequest) -> None:
    """Go on with a run and show it."""
    _hear_the_library()
    from collapse_lm.rundir.resume import read_run
    from collapse_lm.rundir.session import resume

    def go(observer: Progress) -> "RunResult":
        return resume(path, overrides=settings, observers=[observer], should_stop=stop)

    _show(read_run(path, settings).config, go)


def _hear_the_library() -> None:
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("collapse_lm").setLevel(logging.INFO)


def _show(config: Config, go: Callable[[Progress], "RunResult"]) -> None:
    """Show the records of a run as they come, and how it ended."""
    console = Console()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            result = go(LivePanel(config, live))
    else:
        result = go(PlainLines(config, console))
    for line in _ending(result):
        print(printable(line))


def _ending(result: "RunResult") -> list[str]:
    summary, path = result.summary, result.directory
    lines = ["", str(summary["reason"])]
    if summary["collapsed"]:
        lines.append(f"collapse update {summary['collapse_update']}")
    lines += [_moment(name, losses) for name, losses in summary["validation"].items() if losses]
    if summary["status"] == "interrupted":
        lines.append(f"go on with: collapse-lm resume {path}")
    lines += [f"record {path}", f"figure {path / 'figures' / 'losses.png'}"]
    return [*lines, f"samples {path / 'samples.md'}"]


def _moment(moment: str, losses: dict[str, float | None]) -> str:
    """The losses at a moment; one that is null in the record was not a number."""
    named = ", ".join(
        f"{name} {'nan' if loss is None else format(loss, '.3f')}"
        for name, loss in losses.items()
        if name != "update"
    )
    return f"validation loss at {moment} (update {losses['update']}): {named}"


class Pace:
    """Time left, from the median update so far; an upper bound, as a collapse ends a run."""

    def __init__(self, config: Config) -> None:
        self._max_updates = config.run.max_updates
        self._seconds: list[float] = []

    def left(self, record: UpdateRecord) -> str:
        """At most this long to go, as 3m10s."""
        if record.update:
            self._seconds.append(sum(record.seconds.values()))
        if not self._seconds:
            return "?"
        seconds = median(self._seconds) * (self._max_updates - record.update)
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m{rest:02}s"


def _cells(record: UpdateRecord, left: str) -> dict[str, str]:
    """The shown values of a record, by column."""
    losses = " ".join(f"{printable(n)} {v['loss']:.3f}" for n, v in record.validation.items())
    sample = record.seconds.get("sample", 0)
    return {
        "update": str(record.update),
        "train": "" if record.train_loss is None else f"{record.train_loss:.3f}",
        "validation": losses,
        "loop": "" if record.text is None else f"{record.text.loop_share:.2f}",
        "seq-rep-4": "" if record.text is None else f"{record.text.seq_rep_4:.2f}",
        "tok/s": f"{record.tokens / sample:.0f}" if sample else "",
        "s": f"{sum(record.seconds.values()):.1f}",
        "left <": left,
    }


class PlainLines:
    """One line per update, for logs and pipes."""

    def __init__(self, config: Config, console: Console) -> None:
        self._pace = Pace(config)
        self._console = console

    def __call__(self, record: UpdateRecord) -> None:
        """Print the record."""
        cells = _cells(record, self._pace.left(record))
        words = [f"{name} {value}" for name, value in cells.items() if value]
        if record.texts:
            words.append(f"| {one_line(record.texts[0], 60)}")
        print("  ".join(words), file=self._console.file, flush=True)


class LivePanel:
    """A table of the latest updates over a line of the newest sample."""

    def __init__(self, config: Config, live: Live) -> None:
        self._pace = Pace(config)
        self._live = live
        self._title = f"{one_line(config.model, 60)} · seed {config.seed}"
        self._rows: deque[dict[str, str]] = deque(maxlen=_LINES)
        self._spinner = Spinner("dots", "preparing")
        live.update(self._spinner)

    def __call__(self, record: UpdateRecord) -> None:
        """Show the record."""
        self._rows.append(_cells(record, self._pace.left(record)))
        table = Table(*self._rows[0], box=None, expand=True)
        for row in self._rows:
            table.add_row(*map(Text, row.values()))
        newest = one_line(record.texts[0], self._live.console.width - 6) if record.texts else ""
        self._spinner.update(text=f"update {record.update + 1}")
        sample = Text(newest, style="italic")
        self._live.update(Panel(Group(table, sample, self._spinner), title=Text(self._title)))
