"""`collapse-lm audit`: texts that exist, measured and judged; exit code 3 for a state in CI."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_lm._util.fitting import Narrowing
from collapse_lm._util.printable import printable
from collapse_lm.cli.output import AsJson, show
from collapse_lm.cli.tables import Listing
from collapse_lm.config.keys import did_you_mean
from collapse_lm.errors import UserError

if TYPE_CHECKING:
    from collapse_lm.audits.result import AuditResult

FOUND = 3  # exit code, where a state of --fail-on was found
_STATES = ("loop", "mode", "noise", "shrink")
_MOST_ROWS = 20  # of the table; all stand in --json
_COLUMNS = {  # header, name, form
    "texts": ("texts.count", ",.0f"),
    "tokens": ("probe.length", ",.1f"),
    "cut": ("texts.clipped", ".0%"),
    "degenerate": ("probe.degenerate_share", ".0%"),
    "in loops": ("text.loop_share", ".2f"),
    "seq-rep-4": ("text.seq_rep_4", ".2f"),
    "distinct-4": ("pool.distinct_4", ".2f"),
    "overlap": ("pool.overlap", ".2f"),
    "equal": ("texts.equal", ".0%"),
    "nats/token": ("score.loss", ".2f"),
    "zlib": ("text.compression", ".2f"),
}
_KEEP = ("states", "tokens", "degenerate", "overlap", "distinct-4", "seq-rep-4", "nats/token")


_Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...",
        help="JSON lines, Parquet, a folder of such or of .txt files, or a run directory.",
    ),
]
_By = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Groups, in order; or: file. Default: step.")
]
_Text = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Of the text. Default: a known name.")
]
_Tokenizer = Annotated[
    str | None, typer.Option(metavar="REF", help="Default: GPT-2's, or that of --model.")
]
_Model = Annotated[
    str | None, typer.Option(metavar="MODEL", help="Reads the texts: needed for noise.")
]
_Human = Annotated[
    str, typer.Option(metavar="REF", help="Text to compare with: a corpus, auto, or none.")
]
_Baseline = Annotated[
    str | None,
    typer.Option(metavar="N_OR_PATH", help="The first N groups, or other texts. Default: 2."),
]
_FailOn = Annotated[
    str | None,
    typer.Option(metavar="STATES", help="Of loop, mode, noise, shrink: exit code 3 if found."),
]
_Report = Annotated[
    Path | None, typer.Option("-o", "--report", metavar="FILE", help="Write a page of HTML.")
]
_Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write a run directory, new or empty.")
]


def audit(
    paths: _Paths,
    by: _By = None,
    text: _Text = None,
    tokenizer: _Tokenizer = None,
    model: _Model = None,
    human: _Human = "auto",
    baseline: _Baseline = None,
    fail_on: _FailOn = None,
    report: _Report = None,
    out: _Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure and judge texts that exist: rollouts, completions, data sets, samples of a run."""
    wanted = _states(fail_on)
    if "noise" in wanted and model is None:
        got = "noise, without --model"
        raise UserError.single("--fail-on", got, "a model that reads the texts", "--model MODEL")
    from collapse_lm.audits.api import audit as audited

    found = audited(
        paths,
        by=by,
        text=text,
        tokenizer=tokenizer,
        model=model,
        human=None if human == "none" else human,
        baseline=baseline,
        out=out,
        report=report,
    )
    if not as_json:
        _tell_source(found)
    show(found.to_dict(), as_json, lambda: _listing(found))
    if not as_json:
        _tell_findings(found)
    if set(wanted) & set(found.states):
        raise typer.Exit(FOUND)


def _states(words: str | None) -> list[str]:
    """The states of --fail-on."""
    named = [word.strip() for word in (words or "").split(",") if word.strip()]
    for word in named:
        if word not in _STATES:
            expected = f"some of {', '.join(_STATES)}"
            fix = did_you_mean(word, list(_STATES))
            raise UserError.single("--fail-on", word, expected, fix)
    return named


def _tell_source(found: "AuditResult") -> None:
    print(printable(f"{found.path}: {found.source}"))
    told = f"{found.texts:,} texts, in tokens of {found.tokenizer}"
    told += f"; compared with {found.baseline}" if found.baseline else ""
    print(printable(told + (f", human text {found.human_name}" if found.human_name else "")))
    print()


def _tell_findings(found: "AuditResult") -> None:
    print()
    for line in _lines(found):
        print(printable(line))


def _lines(found: "AuditResult") -> Iterator[str]:
    yield from found.findings
    yield from (f"({note})" for note in found.notes)
    if found.broken:
        named = "; ".join(found.broken_named)
        more = ", ..." if found.broken > len(found.broken_named) else ""
        yield f"skipped {found.broken:,} that could not be read: {named}{more}"
    yield from (f"report {found.report}" for _ in [0] if found.report)
    yield from (f"record {found.record}" for _ in [0] if found.record)


def _listing(found: "AuditResult") -> Listing:
    """The groups, with the levels at the start before them and human text behind them."""
    rows = _thinned(found)
    known = {name for group in found.groups for name in group.values}
    columns = {head: of for head, of in _COLUMNS.items() if of[0] in known}
    start = {_OF_START.get(name, name): value for name, value in found.start.items()}
    told = [_row("start", start, columns, "")] if found.start else []
    told += [_row(name, values, columns, states) for name, values, states in rows]
    told += [_row("human text", found.human, columns, "")] if found.human_name else []
    keep = [head for head in _KEEP if head in columns or head == "states"]
    rest = [head for head in columns if head not in keep]
    return Listing(("group", *columns, "states"), told, Narrowing([*keep, *rest]))


_OF_START = {
    "base_samples.count": "texts.count",
    "base_samples.length": "probe.length",
    "base_samples.degenerate_share": "probe.degenerate_share",
    "base_samples.overlap": "pool.overlap",
    "base_samples.distinct_4": "pool.distinct_4",
}


def _thinned(found: "AuditResult") -> list[tuple[str, Mapping[str, float], str]]:
    """At most so many groups, evenly spread, those with which states begin among them."""
    last = len(found.groups) - 1
    steps = min(_MOST_ROWS, len(found.groups)) - 1
    places = {round(place * last / max(1, steps)) for place in range(steps + 1)}
    onsets = set(found.states.values())
    places |= {place for place, group in enumerate(found.groups) if group.name in onsets}
    chosen = [found.groups[place] for place in sorted(places)]
    return [(group.name, group.values, ", ".join(group.states)) for group in chosen]


def _row(
    name: str, values: Mapping[str, float], columns: Mapping[str, tuple[str, str]], states: str
) -> Sequence[str]:
    told = (_number(values.get(of, math.nan), form) for of, form in columns.values())
    return [printable(name), *told, states]


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else ""
