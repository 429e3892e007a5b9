"""What a page shows without its scripts: words, small figures, tables. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collapse_lm.report.page import svg
from collapse_lm.report.page.blocks import told_number, unpack
from collapse_lm.report.page.build import Page
from collapse_lm.report.page.compare import told_row
from collapse_lm.report.page.svg import Line, chart

_RUNS = 200  # with their verdicts
_LINES = 42  # runs in a figure
_TABLE = 60  # updates in a table
_ABOUT = 20  # runs with all their facts
_PAIRS = 3  # of groups that are compared
_LETTERS = 20_000  # of a text
_FIGURES = ("loss", "text")  # panels that are drawn
_RUN_HEAD = ("run", "status", "updates", "collapse update", "validation loss at the end", "verdict")

Run = Mapping[str, Any]
Columns = Mapping[str, Sequence[float | None]]


def static_view(page: Page) -> dict[str, Any]:
    """Everything that the template shows, by name."""
    content, runs = page.content, page.content["runs"]
    return {
        "many": len(runs) > 1,
        "runs": runs[:_RUNS],
        "more_runs": max(0, len(runs) - _RUNS),
        "figures": list(_figures(page)),
        **_samples(page),
        "run_head": _RUN_HEAD,
        "run_rows": [_run_row(run) for run in runs],
        "left_out": [(one["run"], one["reason"]) for one in content["left_out"]],
        "survival": list(_survival(content["sweep"])),
        **_of_the_sweep(content["sweep"]),
        "compare": [_pair(pair, content) for pair in content["compare"][:_PAIRS]],
        "more_pairs": max(0, len(content["compare"]) - _PAIRS),
        "about": runs[:_ABOUT],
        "more_about": max(0, len(runs) - _ABOUT),
    }


# --- curves ------------------------------------------------------------------------------------


def _figures(page: Page) -> Iterator[dict[str, Any]]:
    """The losses and the text measures: of a run every name, of several the first of each kind."""
    runs, panels = page.content["runs"], {p["id"]: p for p in page.content["panels"]}
    rows = {run["id"]: unpack(page.blocks[run["rows"]]) for run in runs[:_LINES]}
    for identity in _FIGURES:
        panel = panels.get(identity)
        if panel is None or not rows:
            continue
        if len(runs) == 1:
            found = [_figure_of_run(page, panel, rows[runs[0]["id"]])]
        else:
            names = panel["names"][:2]
            found = [_figure_of_runs(page, name, rows) for name in names]
        yield from (figure for figure in found if figure["svg"])


def _points(rows: Mapping[str, Any], name: str) -> list[tuple[float, float]]:
    column = rows["columns"].get(name, ())
    pairs = zip(rows["update"], column, strict=False)
    return [(update, value) for update, value in pairs if value is not None]


def _figure_of_run(page: Page, panel: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
    told = page.content["names"]
    lines = [
        Line(told[name]["title"], _points(rows, name), look)
        for look, name in enumerate(panel["names"])
    ]
    lines = [line for line in lines if line.points]
    unit = told[panel["names"][0]]["unit"]
    picture = chart(f"{panel['title']} by update", lines, "update", unit)
    shown = svg.spread(list(enumerate(rows["update"])), _TABLE)
    table = [
        (update, *(told_number(_at(rows["columns"], name, int(place))) for name in panel["names"]))
        for place, update in shown
    ]
    head = ("update", *(told[name]["title"] for name in panel["names"]))
    return _figure(panel["title"], picture, f"{panel['title']}, by update.", head, table)


def _at(columns: Columns, name: str, place: int) -> float | None:
    column = columns.get(name, ())
    return column[place] if place < len(column) else None


def _figure_of_runs(page: Page, name: str, rows: Mapping[str, Any]) -> dict[str, Any]:
    """A line per run, in the look of its group."""
    told, groups = page.content["names"][name], page.content["groups"]
    looks = {run: (look, g["label"]) for look, g in enumerate(groups) for run in g["runs"]}
    series = {run: _points(of, name) for run, of in rows.items()}
    lines = [Line(looks[run][1], of, looks[run][0]) for run, of in series.items() if of]
    title = told["title"][:1].upper() + told["title"][1:]
    picture = chart(f"{title} by update, of each run", lines, "update", told["unit"])
    labels = {run["id"]: run["label"] for run in page.content["runs"]}
    table = [
        (
            labels[run],
            told_number(of[0][1]),
            told_number(min(v for _, v in of)),
            told_number(of[-1][1]),
        )
        for run, of in series.items()
        if of
    ]
    more = len(page.content["runs"]) - len(rows)
    caption = f"{title} by update, a line per run." + (f" {more} runs are not drawn." * (more > 0))
    return _figure(title, picture, caption, ("run", "first", "lowest", "last"), table)


def _figure(
    title: str, picture: Any, caption: str, head: Sequence[str], rows: Sequence[Any]
) -> dict[str, Any]:
    return {"title": title, "svg": picture, "caption": caption, "head": head, "rows": rows}


# --- samples -----------------------------------------------------------------------------------


def _samples(page: Page) -> dict[str, Any]:
    """Of the first run that collapsed, or else of the first: samples at its ends and states."""
    runs = [run for run in page.content["runs"] if run["samples"]["updates"]]
    if not runs:
        return {"samples": [], "sampled_run": "", "sampled_told": ""}
    run = next((one for one in runs if one["end"]["collapsed"]), runs[0])
    updates = run["samples"]["updates"]
    titles = {updates[0]: "drawn by the base model"} if updates[0] == 1 else {}
    titles |= {state["update"]: state["title"] for state in run["states"]}
    wanted = sorted({updates[0], *(u for u in titles if u in set(updates)), updates[-1]})
    found = [
        {
            "title": f"Update {update}" + (f": {titles[update]}" if update in titles else ""),
            "texts": [_text(text) for text in _texts_at(page, run, update)[:2]],
        }
        for update in wanted
    ]
    told = "the first sample, those at its states, and the last"
    name = run["label"] if len(page.content["runs"]) > 1 else run["name"]
    return {"samples": found, "sampled_run": name, "sampled_told": told}


def _texts_at(page: Page, run: Run, update: int) -> list[dict[str, Any]]:
    place = run["samples"]["updates"].index(update)
    for identity, first, last in run["samples"]["blocks"]:
        if first <= place < last:
            found: list[dict[str, Any]] = unpack(page.blocks[identity])["samples"][place - first]
            return found
    return []


def _text(text: Mapping[str, Any]) -> dict[str, str]:
    shown = "".join(_shown(character) for character in text["text"][:_LETTERS])
    prompt = "".join(_shown(character) for character in text["prompt"][:_LETTERS])
    return {"told": f"{text['role']}, {text['origin']}", "prompt": prompt, "text": shown}


def _shown(character: str) -> str:
    """A character that HTML may hold; controls as their pictures, lone surrogates as a mark."""
    code = ord(character)
    if code < 32 and character not in "\n\t":
        return chr(0x2400 + code)
    if code == 127 or 128 <= code < 160 or 0xD800 <= code < 0xE000:
        return "\ufffd"
    return character


# --- several runs ------------------------------------------------------------------------------


def _run_row(run: Run) -> tuple[str, ...]:
    collapse = run["end"]["collapse_update"]
    return (
        run["label"],
        run["status"],
        str(run["updates"]),
        "–" if collapse is None else str(collapse),
        run["numbers"][1]["value"],
        run["verdict"],
    )


def _survival(sweep: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    curves = sweep["survival"] if sweep else []
    if not curves:
        return
    lines = [_curve(curve, look) for look, curve in enumerate(curves)]
    title = "Share of runs that have not collapsed"
    picture = chart(f"{title}, by update", lines, "update", "share of runs", from_zero=True)
    rows = [
        (curve["label"], curve["runs"], curve["collapses"], _median(curve), curve["note"])
        for curve in curves
    ]
    caption = f"{title} (Kaplan-Meier), with 95 % intervals."
    yield _figure(title, picture, caption, ("level", "runs", "collapsed", "median", "note"), rows)


def _curve(curve: Mapping[str, Any], look: int) -> Line:
    times = curve["time"]
    points = list(zip(times, curve["survival"], strict=True))
    limits = [
        (at, low, high)
        for at, low, high in zip(times, curve["lower"], curve["upper"], strict=True)
        if low is not None and high is not None
    ]
    lower, upper = [(at, low) for at, low, _ in limits], [(at, high) for at, _, high in limits]
    return Line(curve["label"], points, look, True, lower, upper)


def _median(curve: Mapping[str, Any]) -> str:
    if curve["median"] is None:
        return "not reached"
    low, high = (
        "no limit" if limit is None else f"{limit:g}"
        for limit in (curve["median_lower"], curve["median_upper"])
    )
    return f"{curve['median']:g} ({low} to {high})"


def _of_the_sweep(sweep: Mapping[str, Any] | None) -> dict[str, Any]:
    found = sweep or {"effects": (), "claims": (), "endings": {"states": (), "rows": ()}}
    return {
        "ending_head": ("runs", *found["endings"]["states"]),
        "ending_rows": [
            (row["label"], *map(_stay, row["cells"])) for row in found["endings"]["rows"]
        ],
        "effects": [(effect["label"], effect["text"]) for effect in found["effects"]],
        "claims": [(c["text"], c["verdict"], c["detail"]) for c in found["claims"]],
    }


def _stay(cell: Mapping[str, Any]) -> str:
    """How many of the runs got into a state, when, and how many of these are out of it again."""
    if not cell["entered"]:
        return "–"
    left = f", {cell['left']} left" if cell["left"] else ""
    return f"{cell['entered']}/{cell['runs']}: {cell['first']:g}{left}"


def _pair(pair: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    labels = {group["id"]: group["label"] for group in content["groups"]}
    a, b = labels[pair["a"]], labels[pair["b"]]
    rows = [told_row(row, content["names"]) for row in pair["rows"]]
    head = ("measure", a, b, "difference", "95 % interval", "runs", "note")
    note = pair["note"]
    told = f"{note[:1].upper()}{note[1:]}." if note else ""
    return {"title": f"{a} and {b}", "note": told, "head": head, "rows": rows}
