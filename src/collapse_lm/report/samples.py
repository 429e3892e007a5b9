"""The samples of a run at four stages, in the manner of the paper's Table 1."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.experiment.batch import Text
from collapse_lm.measures.names import Row
from collapse_lm.rundir.rows import SampleRow, told_origin


def samples_page(
    samples: Sequence[SampleRow],
    rows: Sequence[Row],
    summary: Mapping[str, Any] | None,
    manifest: Mapping[str, Any],
) -> str:
    """Return Markdown: the first sample, those at a third and two thirds, the last."""
    by_update = {row.update: row for row in rows}
    ending = escape(printable(summary["reason"]), quote=False) if summary else "still running"
    trained_on = told_origin(samples)
    parts = [
        f"# Samples of {as_code(manifest['model']['reference'])}, seed {manifest['seed']}",
        f"{len(samples)} updates. {ending[:1].upper()}{ending[1:]}.",
    ]
    if trained_on not in ("", "own samples"):
        parts.append(
            f"Trained on {as_code(trained_on)}: the train loss is that of these texts. Below are "
            "samples of the current model, which the collapse rule looks at, with their own loss."
        )
    for sample in _stages([row for row in samples if row.samples]):
        texts = [_shown_text(text) for text in sample.samples]
        parts += [_heading(by_update[sample.update], is_apart=bool(sample.probe)), *texts]
    return "\n\n".join(parts) + "\n"


def _stages(samples: Sequence[SampleRow]) -> list[SampleRow]:
    """The rows at the start, a third, two thirds and the end, each once."""
    last = len(samples) - 1
    return [samples[i] for i in sorted({0, last // 3, 2 * last // 3, last})] if samples else []


def _shown_text(text: Text) -> str:
    """A sample, its prompt before it where that is text."""
    prompt = [f"after the prompt\n\n{fenced(text.prompt_text)}"] if text.prompt_text else []
    return "\n\n".join([*prompt, fenced(text.text)])


def _heading(row: Row, *, is_apart: bool) -> str:
    """The numbers of an update; the loss of samples that were not trained on comes first."""
    probe = f"loss of these samples {_shown(row, 'probe.loss', 3)} · " if is_apart else ""
    return (
        f"## Update {row.update}\n\n{probe}train loss {_shown(row, 'train.loss', 3)} "
        f"· loop share {_shown(row, 'text.loop_share')} "
        f"· seq-rep-4 {_shown(row, 'text.seq_rep_4')} · {_entropies(row)}"
    )


def _entropies(row: Row) -> str:
    """The model's entropy, and that of what was drawn from (earlier versions did not note it)."""
    model = f"entropy {_shown(row, 'probe.entropy')} nats at temperature 1, unfiltered"
    if "probe.sampling_entropy" not in row.values:
        return model
    return f"{model}, {_shown(row, 'probe.sampling_entropy')} as drawn"


def _shown(row: Row, name: str, digits: int = 2) -> str:
    value = row.get(name)
    return f"{value:.{digits}f}" if math.isfinite(value) else "undefined"


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
