"""Progress of one run: a live panel with small curves on a terminal, plain lines elsewhere."""

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import median
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

from collapse_lm._util.printable import one_line, printable
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Record
from collapse_lm.measures.endings import Endings
from collapse_lm.measures.names import Row
from collapse_lm.observers.base import RunFacts
from collapse_lm.observers.panel import Curves, panel_lines
from collapse_lm.rundir import RecordError, RunReader

_LINES = 12  # updates that stay visible in the live table
_RECENT = 500  # updates that the pace is taken from
_FRAME = 4  # columns of the borders and their padding
_AROUND = 6  # lines of borders, states, sample and spinner, and the one after
_SHORT = 16  # characters of a corpus where there is little room
_PHASES = ("sample", "probe", "train", "judge", "evaluate")


class Pace:
    """Time left, from the median update so far; an upper bound, as a collapse ends a run."""

    def __init__(self, max_updates: int = 0) -> None:
        self._max_updates = max_updates
        self._seconds: deque[float] = deque(maxlen=_RECENT)

    def left(self, record: Record) -> str:
        """At most this long to go, as <3m10s."""
        if record.update:
            self._seconds.append(seconds_of(record))
        if not self._seconds:
            return "?"
        seconds = median(self._seconds) * (self._max_updates - record.update)
        minutes, rest = divmod(round(seconds), 60)
        return f"<{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"<{minutes}m{rest:02}s"


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
        "left": left,
    }


def _shown(record: Record, name: str, digits: int) -> str:
    return f"{record.row.get(name):.{digits}f}" if name in record.row.values else ""


def _short_validation(record: Record) -> str:
    """The loss on the first corpus alone; of a path its last part."""
    validation = list(record.row.labelled("validation.loss").items())
    if not validation:
        return ""
    name, loss = validation[0]
    rest = f" +{len(validation) - 1}" if len(validation) > 1 else ""
    return f"{one_line(name.rpartition('/')[2], _SHORT)} {loss:.3f}{rest}"


def _newest(record: Record) -> str:
    """The first sample of the model, else the first text that it learns."""
    texts = record.probe.texts or record.batch.texts
    return texts[0].text if texts else ""


def _rows_before(run: RunFacts) -> Sequence[Row]:
    """What a run that goes on did before; nothing where that cannot be read."""
    with suppress(OSError, RecordError, UserError):
        return RunReader(run.directory).updates()[: run.update + 1] if run.update else ()
    return ()


def _states(endings: Endings) -> str:
    """The states that a run is in, and since when; empty out of all."""
    within = ", ".join(f"{state} since {since}" for state, since in endings.within.items())
    return f"state: {within}" if within else ""


class PlainLines:
    """One line per update, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._pace = Pace()
        self._endings = Endings()
        self._console = console

    def start(self, run: RunFacts) -> None:
        """Know how long the run can be, and which states it is in already."""
        self._pace = Pace(run.config.run.max_updates)
        self._endings = Endings(run.config.collapse)
        for row in _rows_before(run):
            self._endings.see(row)

    def update(self, record: Record) -> None:
        """Print the record."""
        self._endings.see(record.row)
        cells = _cells(record, self._pace.left(record))
        words = [f"{name} {value}" for name, value in cells.items() if value]
        words += [states] if (states := _states(self._endings)) else []
        if newest := _newest(record):
            words.append(f"| {one_line(newest, 60)}")
        print("  ".join(words), file=self._console.file, flush=True)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Nothing: the command tells how the run ended."""


class LivePanel:
    """A table of the latest updates, curves of the losses, states, and the newest sample."""

    def __init__(self, live: Live) -> None:
        self._pace = Pace()
        self._live = live
        self._title = ""
        self._curves, self._endings = Curves(), Endings()
        self._rows: deque[tuple[dict[str, str], str]] = deque(maxlen=_LINES)
        self._spinner = Spinner("dots", "preparing")
        live.update(self._spinner)

    def start(self, run: RunFacts) -> None:
        """Know what is shown; of a run that goes on, what it did before."""
        self._pace = Pace(run.config.run.max_updates)
        self._title = f"{one_line(run.config.model, 60)} · seed {run.config.seed}"
        self._endings = Endings(run.config.collapse)
        for row in _rows_before(run):
            self._note(row)

    def update(self, record: Record) -> None:
        """Show the record."""
        cells = _cells(record, self._pace.left(record))
        self._rows.append((cells, _short_validation(record)))
        self._note(record.row)
        self._spinner.update(text=f"update {record.update + 1}")
        console = self._live.console
        inner = console.width - _FRAME
        curves = None if console.options.ascii_only else self._curves
        lines = panel_lines(list(self._rows), curves, inner, console.height - _AROUND)
        sample = Text(one_line(_newest(record), inner - 2), style="italic")
        states = Text(one_line(_states(self._endings) or "state: none", inner))
        shown = Group(*lines, states, sample, self._spinner)
        self._live.update(Panel(shown, title=Text(self._title)))

    def _note(self, row: Row) -> None:
        self._curves.add(row)
        self._endings.see(row)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Leave the last picture."""
