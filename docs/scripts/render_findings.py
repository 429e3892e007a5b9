"""Write docs/findings.md, its figures and the headline of README from docs/results alone.

    .venv/bin/python docs/scripts/render_findings.py

Everything between the marker comments comes from committed tables (docs/scripts/keep_results.py):
no number is typed in. A result that is not there yet is told so in words.
"""

import csv
import importlib.util
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from collapse_lm.analysis.arms import arms_of
from collapse_lm.analysis.kept import Kept, read_kept
from collapse_lm.analysis.law import laws_of
from collapse_lm.analysis.outcomes import Measured, at_risk
from collapse_lm.analysis.predictions import Judged, judge
from collapse_lm.analysis.predictions.rules import mean_over_seeds, told
from collapse_lm.analysis.predictions.select import by_seed, entropies, rise_at_end
from collapse_lm.analysis.profiles import shares_of
from collapse_lm.analysis.settings import deciding, setting
from collapse_lm.analysis.stats.blocks import block_bootstrap
from collapse_lm.analysis.stats.survival import kaplan_meier
from collapse_lm.measures.endings import STATES
from collapse_lm.measures.names import label
from collapse_lm.report.arms_figure import draw_arms
from collapse_lm.report.claims_page import exponent_words
from collapse_lm.report.law_page import size_tables
from collapse_lm.report.style import FORMATS, WIDTH, NotDrawnError
from collapse_lm.report.sweep_figures import sweep_figures

from marked import put_between

DOCS = Path(__file__).parents[1]
RESULTS, PAGE, README = DOCS / "results", DOCS / "findings.md", DOCS.parent / "README.md"
IMAGES = DOCS / "images"
BEGIN, END = "<!-- findings: begin -->", "<!-- findings: end -->"
HEAD, HEAD_END = "<!-- headline: begin -->", "<!-- headline: end -->"
HEADLINE = "own-and-real"  # the figure of README
TITLES = {
    "controls": "The same update rule with other texts and other steps",
    "law-smollm2": "One arm of the law on SmolLM2",
    "law": "Temperature, truncation, optimizer, clip",
    "dose": "The exponent in the learning rate",
    "truncation": "Truncation at temperature 1",
    "batch": "Batch size",
    "sizes": "Size, quality and rate",
    "endings": "States beside the loop",
    "generations": "What is kept of earlier text",
}
UNPREDICTED = ("endings",)  # sweeps that show what there is, and test nothing
DYNAMIC = "dynamic-eval"
NOT_YET = "Not run yet."
CAPTIONS = "figures.json"
_LARGEST_SVG = 200_000  # bytes
_MOST_ARMS = 30  # rows of a table
_LAST = 3  # probes at the end
_MOST_PLACES = 6  # arms that are named for a state

Lines = list[str]


def main() -> None:
    """Render the page, draw its figures, and put the headline into README."""
    for name in TITLES:
        if (result := kept(RESULTS, name)) is not None:
            draw_figures(result, RESULTS / name)
    put_between(PAGE, BEGIN, END, f"\n{findings(RESULTS)}\n")
    if (result := kept(RESULTS, "controls")) is not None:
        draw_headline(result, IMAGES)
    put_between(README, HEAD, HEAD_END, f"\n{headline(RESULTS)}\n")
    print(PAGE, file=sys.stderr)


def kept(results: Path, name: str) -> Kept | None:
    """A result, if it is there."""
    return read_kept(results / name) if (results / name / "about.json").is_file() else None


def findings(results: Path) -> str:
    """What stands between the markers of the page."""
    found = {name: kept(results, name) for name in TITLES}
    judged = {name: judge(name, one.runs) for name, one in found.items() if one is not None}
    sections = [section(n, one, judged.get(n, []), results) for n, one in found.items()]
    parts = ["## Predictions, in short", in_short(judged), *sections]
    parts += [reached([one for one in found.values() if one is not None])]
    parts += [dynamic(results), ancestors(results), calibration(results), toys(results)]
    return "\n\n".join(parts)


# --- verdicts ----------------------------------------------------------------------------------


def in_short(judged: dict[str, list[Judged]]) -> str:
    """How many predictions held, by sweep."""
    rows = []
    for name in TITLES:
        if name in UNPREDICTED:
            continue
        if name in judged:
            counts = Counter(one.verdict for one in judged[name])
            verdicts = [str(counts[word]) for word in ("held", "failed", "undecided")]
            rows.append([f"[{name}](#{anchor(name)})", *verdicts])
        else:
            rows.append([f"[{name}](#{anchor(name)})", "not run yet", "", ""])
    return table(("sweep", "held", "failed", "undecided"), rows)


def verdicts(judged: Sequence[Judged]) -> str:
    """A row per prediction."""
    rows = [[one.id, f"**{one.verdict}**", one.predicted, one.found] for one in judged]
    return table(("id", "verdict", "predicted", "found (95 %)"), rows)


# --- sweeps ------------------------------------------------------------------------------------


def section(name: str, found: Kept | None, judged: Sequence[Judged], results: Path) -> str:
    """What one sweep showed."""
    title = f"## {heading(name)}"
    if found is None:
        return f"{title}\n\n{NOT_YET} `collapse-lm sweep {name}` does the runs."
    keys = deciding(found.keys)
    parts = [title, provenance(found)]
    parts += [verdicts(judged)] if judged else []
    parts += list(stillness(found.runs))
    arms = arms_of(keys, found.runs)
    if len(arms) <= _MOST_ARMS:
        parts.append(arms_table(found, keys))
    parts += generations(found, keys, results / name)
    parts += size_tables(keys, at_risk(found.runs)[0]) or law_table(keys, found.runs)
    parts += figures(results / name)
    return "\n\n".join(parts)


def heading(name: str) -> str:
    """Of a section: the name of the sweep, and what it is about."""
    return f"{name}: {TITLES[name][0].lower()}{TITLES[name][1:]}"


def anchor(name: str) -> str:
    """Of the section, as GitHub makes it."""
    kept_letters = (c for c in heading(name).lower().replace(" ", "-") if c.isalnum() or c in "-_")
    return "".join(kept_letters)


def _formats(precision: str | Mapping[str, str]) -> str:
    """A number format, or those of the phases of some runs."""
    if isinstance(precision, str):
        return precision
    return "for some runs " + ", ".join(f"{phase} {word}" for phase, word in precision.items())


def provenance(found: Kept) -> str:
    """When, where, with what, and which runs."""
    about = found.about
    days = " to ".join(dict.fromkeys(start[:10] for start in about["started"]))
    models = ", ".join(dict.fromkeys(run.outcome.label for run in found.runs))
    planned, seeds = about.get("planned", about["runs"]), len({r.outcome.seed for r in found.runs})
    commits = ", ".join(f"`{commit[:10]}`" for commit in about["git_commit"])
    lines = [
        f"{about['runs']} of {planned} runs, {seeds} seed{'s' * (seeds > 1)}, "
        f"{models}; {days or 'day unknown'}, {'; '.join(about['processor']) or 'class unknown'}, "
        f"precision {'; '.join(map(_formats, about['precision']))}. Times of the runs add up to "
        f"{about['run_seconds'] / 60:.0f} minutes. Commit {commits or 'unknown'}. "
        f"[Runs](results/{found.name}/runs.csv), [updates](results/{found.name}/updates.csv), "
        f"[configuration](results/{found.name}/about.json)."
    ]
    lines += [f"- left out: {one['run']}: {one['reason']}" for one in about["left_out"]]
    return "\n".join(lines)


def stillness(runs: Sequence[Measured]) -> Iterator[str]:
    """What a learning rate of 0 does, to the last digit."""
    still = [run for run in runs if setting(run.config, "training.learning_rate") == 0]
    if still:
        changes = [
            abs(value)
            for run in still
            for corpus in run.outcome.corpora
            for value in run.series(label("validation.change", corpus)).values()
        ]
        if changes:
            yield (
                "At a learning rate of 0 the largest change of a validation loss, over "
                f"{len(changes)} evaluations of {len(still)} runs, is {max(changes):.5g} nats."
            )


def arms_table(found: Kept, keys: Sequence[str]) -> str:
    """A row per arm: equal steps and tokens, how it ended, loss and entropy."""
    totals = dict(zip(map(id, found.runs), found.totals, strict=True))
    rows = []
    for name, runs in arms_of(keys, found.runs).items():
        rise = told(mean_over_seeds(by_seed(runs, change_at_end)))
        profile = [s for s in shares_of(runs) if s.entered]
        states = ", ".join(f"{s.state} {s.entered}/{s.runs} at {s.first:g}" for s in profile)
        rows.append(
            [
                *(name, str(len(runs))),
                *(amounts([totals[id(run)][key] for run in runs]) for key in found.totals[0]),
                *(loops(runs), rise, entropy(runs), states or "none"),
            ]
        )
    head = ("arm", "runs", "steps", "tokens trained on", "loop, median update")
    more = ("validation change at the end, nats (95 %)", "entropy, first and last probes")
    return table((*head, *more, "states entered, and when"), rows)


def change_at_end(run: Measured) -> float:
    """Change of the validation loss, nats per token, as recorded; else of the rounded losses."""
    corpora = run.outcome.corpora
    known = run.series(label("validation.change", corpora[0])) if corpora else {}
    return list(known.values())[-1] if known else rise_at_end(run)


def amounts(values: Sequence[float]) -> str:
    """A number that runs have in common, or its range."""
    low, high = min(values), max(values)
    if math.isnan(low) or math.isnan(high):
        return "not recorded"
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def loops(runs: Sequence[Measured]) -> str:
    """How many runs looped, and the Kaplan-Meier median of when."""
    timed, _ = at_risk(runs)
    if not timed:
        return "degenerate before training"
    curve = kaplan_meier([r.outcome.time for r in timed], [r.outcome.observed for r in timed])
    middle = "not reached" if curve.median is None else f"{curve.median:g}"
    return f"{curve.collapses} of {curve.runs}, {middle}"


def entropy(runs: Sequence[Measured]) -> str:
    """Mean entropy of the first probe and of the last three, in nats."""
    found = [series for run in runs if (series := entropies(run))]
    if not found:
        return "not probed"
    first, last = (np.mean([part(one) for one in found]) for part in (_first, _last))
    return f"{first:.2f}, {last:.2f}"


def _first(series: Sequence[float]) -> float:
    return series[0]


def _last(series: Sequence[float]) -> float:
    return float(np.mean(series[-_LAST:]))


def law_table(keys: Sequence[str], runs: Sequence[Measured]) -> Lines:
    """The exponent of every event in every arm that has several amounts."""
    laws = laws_of(keys, at_risk(runs)[0])
    rows = [
        [
            *(law.arm, law.event, law.key, exponent_words(law.exponent), str(law.seeds)),
            f"{sum(level.seen for level in law.levels)} of {sum(x.runs for x in law.levels)}",
        ]
        for law in laws
    ]
    head = ("arm", "time to", "in", "exponent (95 %)", "seeds", "seen in runs")
    return [table(head, rows)] if rows else []


# --- endings -----------------------------------------------------------------------------------


def reached(results: Sequence[Kept]) -> str:
    """For each state the arms that got into it."""
    rows = []
    for state in STATES:
        places = [place for one in results for place in entries(one, state)]
        count = sum(entered for entered, _ in places)
        rows.append([state, count, told_first([words for _, words in places])])
    places = [place for one in results for place in broken(one)]
    count = sum(entered for entered, _ in places)
    rows.append(["broken at the start", count, told_first([words for _, words in places])])
    total = sum(len(one.runs) for one in results)
    head = ("state", f"runs of {total} that entered it", "where, how many, median first update")
    return f"## Endings, and the runs that reached them\n\n{table(head, rows)}"


def entries(found: Kept, state: str) -> Iterator[tuple[int, str]]:
    """Of each arm that got into a state: how many of its runs, and that in words."""
    for arm, runs in arms_of(deciding(found.keys), found.runs).items():
        share = next(one for one in shares_of(runs) if one.state == state)
        if share.entered:
            words = f"{found.name}, {arm}: {share.entered}/{share.runs} at {share.first:g}"
            yield share.entered, words


def broken(found: Kept) -> Iterator[tuple[int, str]]:
    """The same of runs whose base model was degenerate."""
    for arm, runs in arms_of(deciding(found.keys), found.runs).items():
        count = sum(run.outcome.degenerate_before_training for run in runs)
        if count:
            yield count, f"{found.name}, {arm}: {count}/{len(runs)}"


def told_first(places: Sequence[str]) -> str:
    """The first few of some places, and how many more there are."""
    rest = len(places) - _MOST_PLACES
    more = [f"and {rest} more arms"] if rest > 0 else []
    return "; ".join([*places[:_MOST_PLACES], *more]) or "none"


# --- figures -----------------------------------------------------------------------------------


def drawn(found: Kept) -> dict[str, Callable[[Path, str, float], str]]:
    """The figures of a result: those of a sweep, but for losses of every run."""
    timed, _ = at_risk(found.runs)
    group = found.about.get("group")
    made = sweep_figures(deciding(found.keys), group, list(found.runs), timed)
    chosen = ("arms", "dose", "rates", "endings", "phase")
    return {name: f.draw for name, f in made.items() if name.partition("-")[0] in chosen}


def draw_figures(found: Kept, folder: Path) -> None:
    """Draw each as SVG, or as PNG where that would be large; keep file and caption of each."""
    told = {}
    for old in (*folder.glob("*.svg"), *folder.glob("*.png")):
        old.unlink()
    for name, draw in drawn(found).items():
        try:
            caption = draw(folder, name, WIDTH)
        except NotDrawnError:
            continue
        is_small = (folder / f"{name}.svg").stat().st_size <= _LARGEST_SVG
        told[name] = {"file": f"{name}.{'svg' if is_small else 'png'}", "caption": caption}
        for suffix in set(FORMATS) - {told[name]["file"].rpartition(".")[2]}:
            (folder / f"{name}.{suffix}").unlink()
    text = json.dumps(told, indent=2, ensure_ascii=False)
    (folder / CAPTIONS).write_text(f"{text}\n", "utf-8")


def figures(folder: Path) -> Lines:
    """The figures that were drawn, with their captions."""
    path = folder / CAPTIONS
    told = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return [
        f"![{name.replace('-', ' ')} of {folder.name}](results/{folder.name}/{one['file']})\n\n"
        f"*{one['caption']}*"
        for name, one in told.items()
    ]


# --- the headline ------------------------------------------------------------------------------


def two_arms(found: Kept) -> dict[str, list[Measured]]:
    """Own text and real text, at the same model, steps and rate."""
    plain = [
        run
        for run in found.runs
        if run.outcome.learning_rate > 0
        and setting(run.config, "training.optimizer.kind") == "adamw"
    ]
    kinds = {"own": "its own text", "real": "human text"}
    return {
        words: [run for run in plain if setting(run.config, "source.kind") == kind]
        for kind, words in kinds.items()
    }


def draw_headline(found: Kept, folder: Path) -> None:
    """Draw the figure of README."""
    draw_arms(two_arms(found), "trained on", folder, HEADLINE, 6.5)
    for suffix in set(FORMATS) - {"png"}:
        (folder / f"{HEADLINE}.{suffix}").unlink()


def headline(results: Path) -> str:
    """What README says of own and real text; nothing before the runs."""
    found = kept(results, "controls")
    if found is None:
        return ""
    arms = two_arms(found)
    changes = {n: told(mean_over_seeds(by_seed(runs, change_at_end))) for n, runs in arms.items()}
    own, real = changes.values()
    updates = max(run.outcome.updates for runs in arms.values() for run in runs)
    seeds = len({run.outcome.seed for runs in arms.values() for run in runs})
    model = found.runs[0].outcome.label
    rate = f"{arms['its own text'][0].outcome.learning_rate:g}"
    return (
        f"![Validation loss, entropy and overlap of {model} trained on its own text and on human "
        f"text](docs/images/{HEADLINE}.png)\n\n"
        f"*{model}, {updates} updates at a learning rate of {rate}, {seeds} seeds (thin lines; the "
        "band is their range): the same update rule on the model's own text and on as many tokens "
        f"of human text. After the last update the validation loss has changed by {own} nats per "
        f"token on its own text, and by {real} on human text (mean over seeds, 95 % interval). "
        "More in [docs/findings.md](docs/findings.md).*"
    )


# --- other results -----------------------------------------------------------------------------


def dynamic(results: Path) -> str:
    """Static against dynamic evaluation, from the losses by update."""
    title = "## Dynamic evaluation"
    found = kept(results, DYNAMIC)
    if found is None:
        words = "dynamic-eval smollm2-135m --corpus wikitext2 --tokens 20000 --out DIR"
        told = f"{title}\n\n{NOT_YET} `collapse-lm {words}` does the run."
        return f"{told}\n\n{rules_of_dynamic(results)}"
    with (results / DYNAMIC / "segments.csv").open(encoding="utf-8", newline="") as file:
        rows = [(float(row["static"]), float(row["dynamic"])) for row in csv.DictReader(file)]
    static, trained = np.array(rows).T
    about, run = found.about, found.runs[0]
    interval = block_bootstrap(list(trained - static), seed=run.outcome.seed)
    cells = [
        *(f"{about['tokens']:,}", str(about["static_context"]), str(len(rows))),
        *(f"{static.mean():.4f}", f"{trained.mean():.4f}"),
        f"{interval.value:.4f} ({interval.lower:.4f} to {interval.upper:.4f})",
        f"{about['static_loss_longest']:.4f} at {about['longest_context']}",
    ]
    head = ("tokens", "segment", "updates", "static", "dynamic", "dynamic - static (95 %)")
    return "\n\n".join(
        [
            title,
            provenance(found),
            f"{run.outcome.label} on {', '.join(run.outcome.corpora)}, nats per token; each "
            "segment is scored before the step on it. The interval is a paired block bootstrap "
            "over updates.",
            table((*head, "static, longest context"), [cells]),
            rules_of_dynamic(results),
        ]
    )


def generations(found: Kept, keys: Sequence[str], folder: Path) -> Lines:
    """The course over generations, where a sweep has them."""
    if found.name != "generations":
        return []
    own = script("generations")
    return [own.TOLD, table(own.HEAD, own.rows(arms_of(keys, found.runs), folder))]


def rules_of_dynamic(results: Path) -> str:
    """Rules of dynamic evaluation on the same tokens."""
    return str(script("dynamic_rules").render(results))


def ancestors(results: Path) -> str:
    """The cache model, and n-grams of samples."""
    return str(script("evaluations").render(results))


def calibration(results: Path) -> str:
    """How often a model that does not learn is said to be in a state."""
    title = "## False alarms of the states"
    if not (results / "calibration" / "endings.csv").is_file():
        return f"{title}\n\n{NOT_YET} `docs/scripts/calibrate_endings.py` does the draws."
    text = script("calibrate_endings").render(results / "calibration")
    found, head = [], ""
    for line in text.splitlines():
        head = line.removeprefix("### ") if line.startswith("### ") else head
        if "the aim of" in line:
            found.append(f"- {head}. {line}")
    lines = "\n".join(found)
    return f"{title}\n\n{lines}\n\nThe tables are in [collapse-rule.md](collapse-rule.md)."


def toys(results: Path) -> str:
    """Which predictions of the toys held."""
    title = "## Toys with known answers"
    if not (results / "toys" / "runs.csv").is_file():
        return f"{title}\n\n{NOT_YET} `docs/scripts/measure_toys.py` does the runs."
    rows = script("measure_toys").results(results / "toys").splitlines()[2:]
    counts = Counter(row.strip("| ").rpartition("|")[2].strip() for row in rows if row)
    words = ", ".join(f"{counts[word]} {word}" for word in ("held", "failed", "undecided"))
    return f"{title}\n\nOf {sum(counts.values())} predictions: {words} ([toys.md](toys.md))."


def script(name: str) -> ModuleType:
    """Another script of this folder, as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(c).replace('|', '/') for c in row)} |" for row in lines)


if __name__ == "__main__":
    main()
