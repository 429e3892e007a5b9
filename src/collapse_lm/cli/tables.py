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

from collapse_lm._util.fitting import Fitted, Narrowing, fit
from collapse_lm._util.printable import printable
from collapse_lm.corpora.corpus import CorpusInfo
from collapse_lm.machine.doctor_lines import DoctorLine
from collapse_lm.models.inventory import ModelInfo

_RATE = "training.learning_rate"
_SCORES = (  # by importance
    *("loss (nats/token)", "tokens", "perplexity", "bits/byte", "word perplexity"),
    *("with <eos>", "context", "stride", "form"),
)
_OF_A_RUN = (
    *("status", "collapse", "updates", "swept", "lr", "validation", "seed"),
    *("model", "source"),
)
_FACTS = ("swept", "lr", "seed", "model", "source")
_NARROWEST = 20  # characters of a column in which a text is folded


@dataclass(frozen=True)
class Listing:
    """Columns and rows of printable text; a cell may have several lines.

    Attributes:
        columns: headers.
        rows: as many cells each.
        narrowing: on a terminal, one line per row by these rules; None folds instead.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    narrowing: Narrowing | None = None

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
    if not sys.stdout.isatty():
        print("\n".join(listing.lines()))
        return
    console = Console()
    if listing.narrowing and listing.rows:
        rows = [[cell.replace("\n", "; ") for cell in row] for row in listing.rows]
        fitted = fit(listing.columns, rows, console.width, listing.narrowing)
        for line in _fitted_lines(fitted):
            # The terminal wraps what is wider, so that a long name is still one word to copy.
            console.print(line, soft_wrap=True)
    else:
        console.print(listing.on_terminal(console.width))


def _fitted_lines(fitted: Fitted) -> list[Text]:
    """The lines of a table, with what it does not show told before and after it."""
    shared = ", ".join(f"{name} {value}" for name, value in fitted.shared)
    left_out = f"not in full: {', '.join(fitted.left_out)} (--json for all)"
    return [
        *([Text(shared, "dim")] if shared else []),
        *(Text(line, "bold") for line in fitted.head),
        *map(Text, fitted.lines),
        *([Text(left_out, "dim")] if fitted.left_out else []),
    ]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of each column, the widest line of a cell."""
    return [
        max(cell_len(line) for cell in column for line in cell.split("\n"))
        for column in zip(*rows, strict=True)
    ]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - cell_len(cell))


def _table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    narrowing: Narrowing | None = None,
) -> Listing:
    return Listing(columns, [[*map(_cell, row)] for row in rows], narrowing)


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


def _with_ends(loss: dict[str, Any]) -> str:
    """Word perplexity by the custom for corpora of lines, where a corpus is one."""
    value = loss.get("word_perplexity_eos")
    return "" if value is None else f"{value:.3f}"


def evaluation_table(found: dict[str, Any]) -> Listing:
    """Losses with the facts without which they do not compare."""
    described = {corpus["name"]: corpus for corpus in found["corpora"]}
    has_ends = any("word_perplexity_eos" in loss for loss in found["validation"].values())
    return _table(
        (
            "corpus",
            "loss (nats/token)",
            "perplexity",
            "bits/byte",
            "word perplexity",
            *(["with <eos>"] if has_ends else []),
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
                *([_with_ends(loss)] if has_ends else []),
                _of_all(loss["tokens"], described[name]["tokens"]),
                described[name]["context"],
                described[name]["stride"],
                described[name]["form"],
            )
            for name, loss in found["validation"].items()
        ),
        Narrowing(
            _SCORES,
            share=("context", "stride", "form"),
            short={"tokens": [f"{loss['tokens']:,}" for loss in found["validation"].values()]},
        ),
    )


def _of_all(tokens: int, split: int) -> str:
    """How many tokens of a split were scored."""
    return f"all {tokens:,}" if tokens == split else f"{tokens:,} of {split:,}"


def runs_table(rows: Sequence[dict[str, Any]]) -> Listing:
    """Runs, one line each; what their sweeps vary has a column where there is a sweep."""
    told = [_swept(row["swept"]) for row in rows]
    swept = ("swept",) if any(told) else ()
    short = {
        "validation": [printable(_losses(row, most=1)) for row in rows],
        "collapse": [
            "1 (before)" if row["collapse_update"] == 1 else _collapse(row) for row in rows
        ],
    }
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
                _losses(row),
            )
            for row, words in zip(rows, told, strict=True)
        ),
        Narrowing(_OF_A_RUN, _FACTS, cut=("status", "swept", "model"), short=short),
    )


def _losses(row: Mapping[str, Any], most: int | None = None) -> str:
    """Validation losses from the base model to the last, of the first `most` corpora."""
    told = [f"{name} {a:.3f} -> {b:.3f}" for name, (a, b) in row["validation"].items()]
    rest = len(told[most:]) if most else 0
    return ", ".join(told[:most]) + (f" +{rest}" if rest else "")


def _swept(values: Mapping[str, object]) -> str:
    """What a run's sweep varies and has no column of its own."""
    others = {key: v for key, v in values.items() if key not in ("model", _RATE)}
    return ", ".join(f"{key} {json.dumps(v, default=str)}" for key, v in others.items())


_OF_OTHERS = ("monitor", "audit")


def _collapse(row: dict[str, Any]) -> str:
    """The collapse update; one that training cannot have brought about is told apart.

    Of texts and trainings of others the states, each with the update of its first entry.
    """
    update = row["collapse_update"]
    if update == 1:
        return "1 (before any training)"
    if row["states"]:
        return ", ".join(f"{state} {at}" for state, at in row["states"].items())
    ended = "none" if row["source"] in _OF_OTHERS else "censored"
    return str(update or (ended if row["status"] == "finished" else ""))


def doctor_line(line: DoctorLine) -> Text:
    """One finding of the doctor, its fix below it."""
    mark = "ok  " if line.fix is None else "miss"
    text = Text(f"{mark}  {printable(line.subject):<12} {printable(line.finding)}")
    if line.fix:
        text.append(f"\n      {'':<12} fix: {printable(line.fix)}", style="bold")
    return text
