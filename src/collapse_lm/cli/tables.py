"""Tables of a command. Values from files and models are shown as plain text, no markup."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collapse_lm._util.printable import printable
from collapse_lm.corpora.corpus import CorpusInfo
from collapse_lm.machine.doctor_lines import DoctorLine
from collapse_lm.models.inventory import ModelInfo

_RATE = "training.learning_rate"
_NARROWEST = 20  # characters of a column in which a text is folded


@dataclass(frozen=True)
class Listing:
    """Columns and rows of printable text; a cell may have several lines."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def on_terminal(self, width: int) -> Table:
        """Folded in its widest column; where that does not do, one below the other."""
        widths = _widths([self.columns, *self.rows])
        rest = sum(widths) - max(widths) + 2 * len(widths)
        if rest + _NARROWEST > width:
            return self._stacked()
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column, needs in zip(self.columns, widths, strict=True):
            least = None if needs == max(widths) else needs
            table.add_column(column, overflow="fold", min_width=least)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _stacked(self) -> Table:
        table = Table("", "", box=None, show_header=False, pad_edge=False)
        table.columns[1].overflow = "fold"
        for place, row in enumerate(self.rows):
            for column, cell in zip(self.columns, row, strict=True):
                table.add_row(Text(column, "bold"), Text(cell))
            if place < len(self.rows) - 1:
                table.add_row("", "")
        return table

    def lines(self) -> list[str]:
        """A line per row, as wide as it takes, for whoever reads a pipe or a file."""
        rows = [self.columns, *([cell.replace("\n", "; ") for cell in row] for row in self.rows)]
        widths = _widths(rows)
        return ["  ".join(map(_padded, row, widths)).rstrip() for row in rows]


Lazy = Callable[[], Listing]


def show(listing: Listing) -> None:
    """Print a table: fitted to a terminal, in full where the output is none."""
    if sys.stdout.isatty():
        console = Console()
        console.print(listing.on_terminal(console.width))
    else:
        print("\n".join(listing.lines()))


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of each column, the widest line of a cell."""
    return [
        max(cell_len(line) for cell in column for line in cell.split("\n"))
        for column in zip(*rows, strict=True)
    ]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - cell_len(cell))


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Listing:
    return Listing(columns, [[*map(_cell, row)] for row in rows])


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value), keep_newlines=True)


def models_table(found: Sequence[ModelInfo]) -> Listing:
    """Models with their size on disk; those that are not here with what they need."""
    return _table(
        ("model", "ready", "size", "where, or what it needs"),
        (
            (
                info.reference,
                "yes" if info.location else "no",
                f"{info.size / 1e6:,.0f} MB" if info.size else "",
                info.location or info.needs,
            )
            for info in found
        ),
    )


def corpora_table(found: Sequence[CorpusInfo]) -> Listing:
    """Corpora with text form and licence."""
    return _table(
        ("corpus", "ready", "form", "what it is (licence), and where it is or what it needs"),
        (
            (
                info.name,
                "yes" if info.ready else "no",
                info.form,
                f"{info.description} ({info.licence})\n{info.ready or info.needs}",
            )
            for info in found
        ),
    )


def evaluation_table(found: dict[str, Any]) -> Listing:
    """Losses with the facts without which they do not compare."""
    described = {corpus["name"]: corpus for corpus in found["corpora"]}
    return _table(
        (
            "corpus",
            "loss (nats/token)",
            "perplexity",
            "bits/byte",
            "word perplexity",
            "tokens",
            "context",
            "stride",
            "form",
        ),
        (
            (
                name,
                f"{loss['loss']:.4f}",
                f"{loss['perplexity']:.3f}",
                f"{loss['bits_per_byte']:.4f}",
                f"{loss['word_perplexity']:.3f}",
                f"{loss['tokens']:,} of {described[name]['tokens']:,}",
                described[name]["context"],
                described[name]["stride"],
                described[name]["form"],
            )
            for name, loss in found["validation"].items()
        ),
    )


def runs_table(rows: Sequence[dict[str, Any]]) -> Listing:
    """Runs, one line each; what their sweeps vary has a column where there is a sweep."""
    told = [_swept(row["swept"]) for row in rows]
    swept = ("swept",) if any(told) else ()
    ending = ("status", "updates", "collapse", "validation")
    return _table(
        ("run", "model", "source", *swept, "lr", "seed", *ending),
        (
            (
                printable(row["run"]),
                row["model"] and printable(row["model"]),
                row["source"] and printable(row["source"]),
                *(words for _ in swept),
                row["learning_rate"],
                row["seed"],
                printable(row["status"]),
                row["updates"],
                _collapse(row),
                ", ".join(f"{n} {a:.3f} -> {b:.3f}" for n, (a, b) in row["validation"].items()),
            )
            for row, words in zip(rows, told, strict=True)
        ),
    )


def _swept(values: Mapping[str, object]) -> str:
    """What a run's sweep varies and has no column of its own."""
    others = {key: v for key, v in values.items() if key not in ("model", _RATE)}
    return ", ".join(f"{key} {json.dumps(v, default=str)}" for key, v in others.items())


def _collapse(row: dict[str, Any]) -> str:
    """The collapse update; one that training cannot have brought about is told apart."""
    update = row["collapse_update"]
    if update == 1:
        return "1 (before any training)"
    return str(update or ("censored" if row["status"] == "finished" else ""))


def doctor_line(line: DoctorLine) -> Text:
    """One finding of the doctor, its fix below it."""
    mark = "ok  " if line.fix is None else "miss"
    text = Text(f"{mark}  {printable(line.subject):<12} {printable(line.finding)}")
    if line.fix:
        text.append(f"\n      {'':<12} fix: {printable(line.fix)}", style="bold")
    return text
