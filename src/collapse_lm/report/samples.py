"""The samples of a run at four stages, in the manner of the paper's Table 1."""

from collections.abc import Sequence
from html import escape

from collapse_lm._util.printable import printable
from collapse_lm.rundir.rows import Row


def samples_page(
    samples: Sequence[Row], rows: Sequence[Row], summary: Row | None, manifest: Row
) -> str:
    """Return Markdown: the first sample, those at a third and two thirds, the last."""
    by_update = {row["update"]: row for row in rows}
    ending = escape(printable(summary["reason"]), quote=False) if summary else "still running"
    parts = [
        f"# Samples of {as_code(manifest['model']['reference'])}, seed {manifest['seed']}",
        f"{len(samples)} updates. {ending[:1].upper()}{ending[1:]}.",
    ]
    for sample in _stages(samples):
        parts += [_heading(by_update[sample["update"]]), *map(fenced, sample["text"])]
    return "\n\n".join(parts) + "\n"


def _stages(samples: Sequence[Row]) -> list[Row]:
    """The rows at the start, a third, two thirds and the end, each once."""
    last = len(samples) - 1
    return [samples[i] for i in sorted({0, last // 3, 2 * last // 3, last})] if samples else []


def _heading(row: Row) -> str:
    text = row["text"]
    return (
        f"## Update {row['update']}\n\n"
        f"train loss {_shown(row['train_loss'], 3)} · loop share {_shown(text['loop_share'])} · "
        f"seq-rep-4 {_shown(text['seq_rep_4'])} · entropy {_shown(row['entropy'])} nats"
    )


def _shown(value: float | None, digits: int = 2) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def as_code(name: str) -> str:
    """Show a name as code, on one line."""
    return f"`{printable(name).replace('`', chr(39))}`"


def fenced(text: str) -> str:
    """Fence a text as code, so that nothing in it is read as Markdown, HTML or a terminal's."""
    text = printable(text, keep_newlines=True)
    longest = max((len(run) for run in _backtick_runs(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _backtick_runs(text: str) -> list[str]:
    return "".join(c if c == "`" else " " for c in text).split()
