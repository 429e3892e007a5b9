"""Write docs/paper-index.md from docs/scripts/paper_index.yaml and the committed results.

    .venv/bin/python docs/scripts/render_paper_index.py

What others report is written in the YAML file, with its place; what was measured here comes from
docs/results and docs/reproduction alone. A result that is not there yet is told so in words.
"""

import csv
import importlib.util
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml

from collapse_lm.analysis.stats.blocks import block_bootstrap

from marked import put_between

DOCS = Path(__file__).parents[1]
RESULTS, REPRODUCTION = DOCS / "results", DOCS / "reproduction"
PAGE, FACTS = DOCS / "paper-index.md", Path(__file__).with_name("paper_index.yaml")
BEGIN, END = "<!-- papers: begin -->", "<!-- papers: end -->"
PRESETS = "presets"

Entry = Mapping[str, Any]
Told = Iterator[str]


def main() -> None:
    """Render the page."""
    put_between(PAGE, BEGIN, END, f"\n{render(DOCS)}\n")
    print(PAGE, file=sys.stderr)


def entries() -> list[Entry]:
    """The methods, in order."""
    found: list[Entry] = yaml.safe_load(FACTS.read_text("utf-8"))
    return found


def render(docs: Path) -> str:
    """A table of all methods, and a section for each."""
    rows = [[f"[{one['name']}](#{anchor(one)})", uses(one), short(one, docs)] for one in entries()]
    head = ["method", "preset, command or key", "measured here"]
    return "\n\n".join([table(head, rows), *(section(one, docs) for one in entries())])


def section(one: Entry, docs: Path) -> str:
    """What is told of one method."""
    paper = f"[{one['paper']}]({one['link']})" if "link" in one else one["paper"]
    reported = [f"{fact['what']} ({fact['from']})" for fact in one["reported"]]
    deviations = [
        *one.get("deviations", ()),
        *(d for p in one.get("presets", ()) for d in header(p)),
    ]
    return "\n\n".join(
        [
            f"## {one['name']}",
            f"{paper}. Here: {uses(one)}.",
            "What differs here:\n\n" + bullets(deviations),
            "Its authors report:\n\n" + bullets(reported),
            "Measured here:\n\n" + bullets(measured(one, docs) or [wanting(one)]),
        ]
    )


def uses(one: Entry) -> str:
    """How it is called here."""
    words = (use if "=" in use and " " not in use else f"collapse-lm {use}" for use in one["use"])
    return ", ".join(f"`{word}`" for word in words)


def short(one: Entry, docs: Path) -> str:
    """Whether anything was measured."""
    return "yes" if measured(one, docs) else "not run here"


def measured(one: Entry, docs: Path) -> list[str]:
    """What the committed tables hold of it."""
    return [line for name in one["measured"] for line in MEASURED[name](one, docs)]


def wanting(one: Entry) -> str:
    """Why nothing was."""
    return f"Not run here. {one['why_not']}" if "why_not" in one else "Not run here."


def header(preset: str) -> list[str]:
    """The deviations that the header of a preset declares."""
    path = resources.files("collapse_lm.config") / "presets" / f"{preset}.yaml"
    lines = [line.removeprefix("#")[1:] for line in path.read_text("utf-8").splitlines()]
    found: list[str] = []
    for line in lines[lines.index("Deviations:") + 1 :]:
        if line.startswith("- "):
            found.append(line.removeprefix("- "))
        elif line.startswith("  ") and found:
            found[-1] += f" {line.strip()}"
        else:
            break
    return found


# --- what was measured -------------------------------------------------------------------------


def claims(one: Entry, docs: Path) -> Told:
    """The verdicts on the sentences of the paper."""
    path = docs / "reproduction" / "claims.json"
    if path.is_file():
        found = json.loads(path.read_text("utf-8"))
        counts = Counter(claim["verdict"] for claim in found)
        facts = json.loads(path.with_name("facts.json").read_text("utf-8"))
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        yield (
            f"Of {len(found)} claims, over {facts['runs']} runs at the "
            f"embedded scale ({', '.join(facts['models'])}): {told}. "
            "[Reproduction](reproduction.md)."
        )


def controls(one: Entry, docs: Path) -> Told:
    """The same update rule on other texts."""
    yield from sweep("controls", "Own, frozen, shuffled and human text, and steps at random", docs)


def law(one: Entry, docs: Path) -> Told:
    """One arm of the law on the packaged model."""
    yield from sweep(
        "law-smollm2", "Neutral samples (temperature 1, nothing cut off) on SmolLM2", docs
    )


def sizes(one: Entry, docs: Path) -> Told:
    """Whether larger models are earlier, by the rule for the rate."""
    yield from sweep("sizes", "Size, at four rates each and with three pretrainings per size", docs)


def generations(one: Entry, docs: Path) -> Told:
    """Replace, accumulate, subsample."""
    yield from sweep("generations", "Replace, accumulate, subsample and a kept share", docs)


def sweep(name: str, words: str, docs: Path) -> Told:
    """That a sweep is kept, and where it is told."""
    path = docs / "results" / name / "about.json"
    if path.is_file():
        about = json.loads(path.read_text("utf-8"))
        made = f"{about['runs']} runs, {about['run_seconds'] / 60:.0f} minutes"
        yield f"{words}: {made}. [Findings](findings.md), sweep `{name}`."


def adamw(one: Entry, docs: Path) -> Told:
    """The untuned run with the paper's optimizer."""
    folder = docs / "results" / "dynamic-eval"
    if (folder / "about.json").is_file():
        about = json.loads((folder / "about.json").read_text("utf-8"))
        with (folder / "segments.csv").open(encoding="utf-8", newline="") as file:
            rows = [(float(row["static"]), float(row["dynamic"])) for row in csv.DictReader(file)]
        static, dynamic = np.array(rows).T
        found = block_bootstrap(list(dynamic - static), seed=0)
        rate = about["config"]["training.learning_rate"]
        yield (
            f"With AdamW at a rate of {rate:g}, untuned, {about['tokens']:,} tokens of "
            f"{about['config']['source.corpus']}: dynamic minus static loss {found.value:.4f} "
            f"({found.lower:.4f} to {found.upper:.4f}) nats per token. [Findings](findings.md)."
        )


def rules(one: Entry, docs: Path) -> Told:
    """Rules of dynamic evaluation on the same tokens."""
    for text in script("dynamic_rules").kept(docs / "results"):
        about = text.about
        tuned = f"tuned on {about['tuned_on']}" if about["tuned_on"] else "untuned"
        gains = "; ".join(f"{rule} {text.apart(rule, 'static')}" for rule in about["rules"])
        yield (
            f"{about['model']}, {about['tokens']:,} tokens of {about['corpus']}, {tuned}, dynamic "
            f"minus static loss in nats per token (95 %): {gains}. [Findings](findings.md)."
        )


def cache(one: Entry, docs: Path) -> Told:
    """With a cache against without."""
    own = script("evaluations")
    for name, kept in own.kept("cache-eval", docs / "results"):
        found = kept["summary"]
        yield (
            f"{kept['model']} with a cache of {found['cache']} on {found['tokens']:,} tokens of "
            f"{kept['corpus']}, minus without it, in nats per token (95 %): "
            f"{own.apart(found)} at context {found['static_context']}, "
            f"{own.apart(found, '_longest')} at {found['longest_context']}. "
            f"{found['cached_share']:.1%} of the tokens were in the cache. "
            f"[Summary](results/{own.NAME}/{name}.json)."
        )


def ngrams(one: Entry, docs: Path) -> Told:
    """Perplexity of n-grams of samples, of most tokens."""
    own = script("evaluations")
    for name, kept in own.kept("ngram-eval", docs / "results"):
        found = kept["summary"]
        orders = "; ".join(
            f"order {order}: "
            + ", ".join(f"{int(n):,} tokens {told['perplexity']:.4g}" for n, told in by.items())
            for order, by in found["ngrams"].items()
        )
        yield (
            f"{kept['model']} on {kept['corpus']}, perplexity of n-grams of its samples: {orders}; "
            f"of the model itself {found['static_perplexity']:.4g}. "
            f"[Summary](results/{own.NAME}/{name}.json)."
        )


def presets(one: Entry, docs: Path) -> Told:
    """The small runs of presets: that they ran, and how long they took."""
    path = docs / "results" / PRESETS / "presets.json"
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {"presets": {}}
    for name in one["presets"]:
        if name in found["presets"]:
            run = found["presets"][name]
            yield (
                f"`{name}` at an embedded size ({run['model']}, {run['updates']} updates): "
                f"{run['seconds']:.0f} s, {run['status']}; validation loss {run['start']:.3f} to "
                f"{run['end']:.3f} nats per token on {run['corpus']} ({found['started'][:10]}, "
                f"{found['processor']}, one seed). {one.get('why_not', '')}".strip()
            )


MEASURED: dict[str, Callable[[Entry, Path], Told]] = {
    call.__name__: call
    for call in (adamw, claims, controls, law, sizes, generations, rules, cache, ngrams, presets)
}


# --- Markdown ----------------------------------------------------------------------------------


def anchor(one: Entry) -> str:
    """Where its section is linked."""
    kept = (c for c in one["name"].lower() if c.isalnum() or c in " -_")
    return "".join(kept).replace(" ", "-")


def bullets(lines: Sequence[str]) -> str:
    """A list, wrapped."""
    wrap = {"width": 118, "break_long_words": False, "break_on_hyphens": False}
    return "\n".join(
        textwrap.fill(line, initial_indent="- ", subsequent_indent="  ", **wrap) for line in lines
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def script(name: str) -> ModuleType:
    """Another script of this folder, as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
