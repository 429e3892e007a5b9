"""Samples of one run on its way to collapse, in the manner of the paper's Table 1.

The paper shows iterations 0, 50, 100 and 133, the last; these are the first sample and
those at 3/8, 6/8 and all of the way to the collapse. The last sample follows where the
run went on.
"""

import math
from collections.abc import Sequence

from collapse_lm._util.printable import printable
from collapse_lm.analysis.levels import name_rate
from collapse_lm.analysis.outcomes import Measured, Outcome
from collapse_lm.measures.names import Row
from collapse_lm.report.samples import as_code, fenced

_RULER = "-" * 72


def choose_run(runs: Sequence[Measured]) -> Measured | None:
    """Return the collapsed run of median time to collapse (the earlier of two in the middle).

    Without a collapse it is the longest run; None without any. Equal times are decided
    by name.
    """
    collapsed = sorted(
        (run for run in runs if run.outcome.observed), key=lambda r: (r.outcome.time, r.outcome.run)
    )
    if collapsed:
        return collapsed[(len(collapsed) - 1) // 2]
    return max(runs, key=lambda r: (r.outcome.updates, r.outcome.run), default=None)


def stages(outcome: Outcome) -> list[tuple[int, str]]:
    """Return (update, what it is) of the samples to show, in order, each update once."""
    end = max(outcome.time, 1)
    named = {
        1: "first",
        max(1, round(3 * end / 8)): "3/8 of the way",
        max(1, round(6 * end / 8)): "6/8 of the way",
        end: "collapse" if outcome.observed else "last",
    }
    if outcome.updates > end:
        named[outcome.updates] = "last"
    return sorted(named.items())


def table1_text(run: Measured) -> str:
    """Return the table as printable plain text."""
    parts = [_title(run.outcome, printable(run.outcome.model))]
    for words, text in _samples(run):
        parts += [f"{_RULER}\n{words}\n{_RULER}", printable(text, keep_newlines=True)]
    return "\n\n".join(parts) + "\n"


def table1_markdown(run: Measured) -> str:
    """Return the table as Markdown, each sample fenced."""
    parts = [
        f"# Table 1: {as_code(run.outcome.run)}",
        _title(run.outcome, as_code(run.outcome.model)),
    ]
    for words, text in _samples(run):
        parts += [f"## {words}", fenced(text)]
    return "\n\n".join(parts) + "\n"


def _samples(run: Measured) -> list[tuple[str, str]]:
    """Return (heading, text) of each stage; of several samples per update the first."""
    texts = {row.update: row.samples[0].text for row in run.reader.samples() if row.samples}
    rows = {row.update: row for row in run.rows}
    return [
        (f"Update {update} ({words}): {_measures(rows[update])}", texts[update])
        for update, words in stages(run.outcome)
        if update in texts and update in rows
    ]


def _measures(row: Row) -> str:
    return (
        f"train loss {_shown(row.get('train.loss'))} nats per token, "
        f"loop share {_shown(row.get('text.loop_share'))}, "
        f"seq-rep-4 {_shown(row.get('text.seq_rep_4'))}"
    )


def _shown(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "undefined"


def _title(outcome: Outcome, model: str) -> str:
    ending = f"collapsed at update {outcome.time}" if outcome.observed else "did not collapse"
    return (
        f"{model}, learning rate {name_rate(outcome.learning_rate)}, temperature "
        f"{outcome.temperature:g}, seed {outcome.seed}: {ending}. {outcome.updates} updates."
    )
