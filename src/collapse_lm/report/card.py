"""Runs and sweeps as a notebook shows them: small HTML without scripts, everything escaped.

Takes plain values, reads nothing. Colours are the notebook's own, so that it fits a dark one.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collapse_lm._util.printable import one_line, printable
from collapse_lm.measures.names import Row, label

Facts = Mapping[str, Any]
_MOST = 50  # runs in the table of a sweep
_WIDTH, _HEIGHT = 160, 28  # of a small curve, in pixels
_CELL = "text-align:left;padding:2px 12px 2px 0"


def run_card(name: str, manifest: Facts, summary: Facts | None, rows: Sequence[Row]) -> str:
    """A run: how it ended, three numbers with what they compare with, small curves.

    Args:
        name: of its directory.
        manifest: of the run.
        summary: of the run, None while it goes on.
        rows: so far, row 0 first.
    """
    corpus = next(iter(rows[0].labelled("validation.loss")), None) if rows else None
    loss = label("validation.loss", corpus or "")
    head = f"<b>{_text(name)}</b> · {_text(str(manifest['model']['reference']))}"
    head += f" · seed {int(manifest['seed'])}"
    numbers = [
        ("collapse", _collapse(summary), _base(rows)),
        (f"validation loss{f' on {corpus}' if corpus else ''}", *_ends(rows, loss)),
        ("distinct 4-grams", *_distinct(rows, manifest.get("human") or {})),
    ]
    curves = [("validation loss", loss), ("train loss", "train.loss")]
    curves.append(("share of the sample in a loop", "text.loop_share"))
    cells = "".join(
        f'<td style="{_CELL}">{spark([row.get(n) for row in rows], title)}<br>{title}</td>'
        for title, n in curves
    )
    told = f"<div>{head}</div><div>{_text(verdict(summary, rows))}</div>"
    return f"<div>{told}{_table((), numbers)}<table><tr>{cells}</tr></table></div>"


def sweep_card(name: str, keys: Sequence[str], runs: Sequence[Facts]) -> str:
    """A sweep: how many of its runs collapsed, and a line for each.

    Args:
        name: of its folder.
        keys: dotted, that it is over.
        runs: each with `values` (by key), `seed`, `status`, `told` and `summary`.
    """
    ended = [run["summary"] for run in runs if run["summary"]]
    collapsed = sum(bool(summary["collapsed"]) for summary in ended)
    head = f"<b>{_text(name)}</b> · {len(ended)} of {len(runs)} runs have ended, "
    head += f"{collapsed} of them collapsed"
    lines = [
        (
            *(str(run["values"].get(key, "")) for key in keys),
            *(str(run["seed"]), run["status"], _collapse(run["summary"]), run["told"]),
        )
        for run in runs[:_MOST]
    ]
    more = f"<div>and {len(runs) - _MOST} more</div>" if len(runs) > _MOST else ""
    table = _table((*keys, "seed", "status", "collapse", "how it ended"), lines)
    return f"<div><div>{head}</div>{table}{more}</div>"


def verdict(summary: Facts | None, rows: Sequence[Row]) -> str:
    """How a run ended, in a sentence."""
    if summary is None:
        return f"Running, {rows[-1].update if rows else 0} updates so far."
    if summary.get("degenerate_before_training"):
        return f"Degenerate before any training ({summary['reason']})."
    if summary["collapsed"]:
        why = str(summary["reason"]).partition(": ")[2] or str(summary["reason"])
        return f"Collapsed at update {summary['collapse_update']}: {why}." + _states(summary)
    told = f"No collapse in {summary['updates']} updates ({summary['reason']})."
    return told + _states(summary)


def _states(summary: Facts) -> str:
    """The states beside the collapse that a run got into, in a sentence; none where it did not."""
    stays = {state: stay for state, stay in summary.get("endings", {}).items() if state != "loop"}
    told = [f"{s} from update {stay['entered']}" for s, stay in stays.items() if stay["entries"]]
    return f" {', '.join(told).capitalize()}." if told else ""


def spark(values: Sequence[float], title: str) -> str:
    """A small curve as inline SVG; numbers that are not finite are left out."""
    known = [(at, y) for at, y in enumerate(values) if math.isfinite(y)]
    if len(known) < 2:
        return ""
    low, high = min(y for _, y in known), max(y for _, y in known)
    across, span = max(1, len(values) - 1), (high - low) or 1.0
    points = " ".join(
        f"{2 + (_WIDTH - 4) * at / across:.1f},{_HEIGHT - 3 - (_HEIGHT - 6) * (y - low) / span:.1f}"
        for at, y in known
    )
    told = f"{title}, from {known[0][1]:.3g} to {known[-1][1]:.3g}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{_text(told)}">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )


def _collapse(summary: Facts | None) -> str:
    if summary and summary.get("degenerate_before_training"):
        return "before training"
    update = summary["collapse_update"] if summary else None
    return "none" if update is None else f"update {update}"


def _base(rows: Sequence[Row]) -> str:
    """How much of what the base model drew lies in a loop; nothing where it was not judged."""
    name = "text.loop_share"
    first = next((row for row in rows if row.update == 1 and name in row.values), None)
    return "" if first is None else f"base model: {first.get(name):.0%} in a loop"


def _ends(rows: Sequence[Row], name: str) -> tuple[str, str]:
    """The last value of a name, and the first with words that say what it is."""
    known = [(row.update, row.get(name)) for row in rows if name in row.values]
    if not known:
        return "", ""
    first = "base model" if not known[0][0] else f"update {known[0][0]}"
    return f"{known[-1][1]:.3f} nats/token", f"{first}: {known[0][1]:.3f}"


def _distinct(rows: Sequence[Row], human: Facts) -> tuple[str, str]:
    """Distinct 4-grams of the last probe, and those of human text or of the first probe."""
    name = "text.distinct_4"
    known = [(row.update, row.get(name)) for row in rows if name in row.values]
    if not known:
        return "", ""
    first = f"update {known[0][0]}: {known[0][1]:.2f}"
    told = f"human text: {float(human[name]):.2f}" if name in human else first
    return f"{known[-1][1]:.2f}", told


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [_row("td", line) for line in lines]
    return f"<table>{_row('th', heads) if heads else ''}{''.join(rows)}</table>"


def _row(kind: str, cells: Sequence[str]) -> str:
    shown = (f'<{kind} style="{_CELL}">{_text(cell)}</{kind}>' for cell in cells)
    return f"<tr>{''.join(shown)}</tr>"


def _text(text: str) -> str:
    return html.escape(one_line(printable(text), 200))
