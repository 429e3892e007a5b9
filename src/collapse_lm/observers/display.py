"""Progress of one run: a live panel on a terminal, plain lines elsewhere."""

from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from collapse_lm._util.printable import one_line, printable
from collapse_lm.experiment.batch import Record
from collapse_lm.observers.base import RunFacts

_LINES = 12  # updates that stay visible in the live table
_RECENT = 500  # updates that the pace is taken from
_PHASES = ("sample", "probe", "train", "judge", "evaluate")


class Pace:
    """Time left, from the median update so far; an upper bound, as a collapse ends a run."""

    def __init__(self, max_updates: int = 0) -> None:
        self._max_updates = max_updates
        self._seconds: deque[float] = deque(maxlen=_RECENT)

    def left(self, record: Record) -> str:
        """At most this long to go, as 3m10s."""
        if record.update:
            self._seconds.append(seconds_of(record))
        if not self._seconds:
            return "?"
        seconds = median(self._seconds) * (self._max_updates - record.update)
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m{rest:02}s"


def seconds_of(record: Record) -> float:
    """Wall time of an update."""
    return sum(record.row.values.get(f"seconds.{phase}", 0.0) for phase in _PHASES)


def _cells(record: Record, left: str) -> dict[str, str]:
    """The shown values of a record, by column."""
    row = record.row
    validation = row.labelled("validation.loss").items()
    sample = row.values.get("seconds.sample", 0)
    return {
        "update": str(record.update),
        "train": _shown(record, "train.loss", 3),
        "validation": " ".join(f"{printable(name)} {loss:.3f}" for name, loss in validation),
        "loop": _shown(record, "text.loop_share", 2),
        "seq-rep-4": _shown(record, "text.seq_rep_4", 2),
        "tok/s": f"{record.batch.tokens / sample:.0f}" if sample else "",
        "s": f"{seconds_of(record):.1f}",
        "left <": left,
    }


def _shown(record: Record, name: str, digits: int) -> str:
    return f"{record.row.get(name):.{digits}f}" if name in record.row.values else ""


def _newest(record: Record) -> str:
    """The first sample of the model, else the first text that it learns."""
    texts = record.probe.texts or record.batch.texts
    return texts[0].text if texts else ""


class PlainLines:
    """One line per update, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._pace = Pace()
        self._console = console

    def start(self, run: RunFacts) -> None:
        """Know how long the run can be."""
        self._pace = Pace(run.config.run.max_updates)

    def update(self, record: Record) -> None:
        """Print the record."""
        cells = _cells(record, self._pace.left(record))
        words = [f"{name} {value}" for name, value in cells.items() if value]
        if newest := _newest(record):
            words.append(f"| {one_line(newest, 60)}")
        print("  ".join(words), file=self._console.file, flush=True)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Nothing: the command tells how the run ended."""


class LivePanel:
    """A table of the latest updates over a line of the newest sample."""

    def __init__(self, live: Live) -> None:
        self._pace = Pace()
        self._live = live
        self._title = ""
        self._rows: deque[dict[str, str]] = deque(maxlen=_LINES)
        self._spinner = Spinner("dots", "preparing")
        live.update(self._spinner)

    def start(self, run: RunFacts) -> None:
        """Know what is shown."""
        self._pace = Pace(run.config.run.max_updates)
        self._title = f"{one_line(run.config.model, 60)} · seed {run.config.seed}"

    def update(self, record: Record) -> None:
        """Show the record."""
        self._rows.append(_cells(record, self._pace.left(record)))
        table = Table(*self._rows[0], box=None, expand=True)
        for row in self._rows:
            table.add_row(*map(Text, row.values()))
        newest = one_line(_newest(record), self._live.console.width - 6)
        self._spinner.update(text=f"update {record.update + 1}")
        sample = Text(newest, style="italic")
        self._live.update(Panel(Group(table, sample, self._spinner), title=Text(self._title)))

    def end(self, summary: Mapping[str, Any]) -> None:
        """Leave the last picture."""
