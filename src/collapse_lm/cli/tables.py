"""Tables for the terminal. Values from files and models are shown as plain text, no markup."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from collapse_lm._util.printable import printable
from collapse_lm.corpora.corpus import CorpusInfo
from collapse_lm.machine.doctor_lines import DoctorLine
from collapse_lm.models.inventory import ModelInfo

Lazy = Callable[[], Table]


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(value: object) -> Text:
    return Text("" if value is None else printable(str(value), keep_newlines=True))


def models_table(found: Sequence[ModelInfo]) -> Table:
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


def corpora_table(found: Sequence[CorpusInfo]) -> Table:
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


def evaluation_table(found: dict[str, Any]) -> Table:
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


def runs_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Runs, one line each."""
    return _table(
        ("run", "model", "lr", "seed", "status", "updates", "collapse", "validation"),
        (
            (
                printable(row["run"]),
                row["model"] and printable(row["model"]),
                row["learning_rate"],
                row["seed"],
                printable(row["status"]),
                row["updates"],
                row["collapse_update"] or ("censored" if row["status"] == "finished" else ""),
                ", ".join(f"{n} {a:.3f} -> {b:.3f}" for n, (a, b) in row["validation"].items()),
            )
            for row in rows
        ),
    )


def doctor_line(line: DoctorLine) -> Text:
    """One finding of the doctor, its fix below it."""
    mark = "ok  " if line.fix is None else "miss"
    text = Text(f"{mark}  {printable(line.subject):<12} {printable(line.finding)}")
    if line.fix:
        text.append(f"\n      {'':<12} fix: {printable(line.fix)}", style="bold")
    return text
