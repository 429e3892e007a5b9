"""Keep what rules of dynamic evaluation gain on a text: docs/results/dynamic-rules/TEXT.

    .venv/bin/collapse-lm dynamic-eval smollm2-135m --corpus wikitext2 --tokens 20000
        --rule krause,adamw,sgd --tune ptb --out DIR
    .venv/bin/python docs/scripts/dynamic_rules.py DIR wikitext2
    .venv/bin/python docs/scripts/render_findings.py

Writes gain.csv (the losses by update, five significant digits), about.json and gain.svg. All
numbers of the page come from these two, intervals too.
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from collapse_lm.analysis.stats.blocks import block_bootstrap
from collapse_lm.dynamic.gain import gained
from collapse_lm.report.gain_figure import GAIN_FIGURE, draw_gain
from collapse_lm.rundir.reader import find_runs

RESULTS = Path(__file__).parents[1] / "results"
NAME = "dynamic-rules"
COMMAND = "dynamic-eval smollm2-135m --corpus TEXT --tokens 20000 --rule krause,adamw,sgd"
_KEPT = (
    *("tokens", "segments", "static_context", "static_loss_longest", "longest_context"),
    *("tuned_on", "tuned_tokens", "tuning"),
)


def main(words: Sequence[str] | None = None) -> None:
    """Keep one folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="folder of a dynamic evaluation by several rules")
    parser.add_argument("text", help="a short name of what was scored")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(words)
    out = chosen.results / NAME / chosen.text
    out.mkdir(parents=True, exist_ok=True)
    keep(chosen.source, out)
    for path in sorted(out.iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")


def keep(source: Path, out: Path) -> None:
    """Write the tables and the figure of one text."""
    summary = json.loads((source / "summary.json").read_text("utf-8"))
    settings = json.loads((source / "settings.json").read_text("utf-8"))
    names = list(summary["rules"])
    with (source / "gain.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (out / "gain.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["update", "tokens", "static", *names])
        for row in rows:
            losses = [f"{float(row[name]):.5g}" for name in ("static", *names)]
            writer.writerow([row["update"], row["tokens"], *losses])
    about = {
        "model": settings["model"]["reference"],
        "corpus": settings["corpus"]["name"],
        "statistics": settings["statistics"],
        "seed": settings["seed"],
        **{name: summary[name] for name in _KEPT},
        "bytes": _bytes(summary),
        "rules": {name: _values(told) for name, told in summary["rules"].items()},
        **{name: summary[name] for name in ("nonfinite",) if name in summary},
        **made(source),
    }
    (out / "about.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    draw(out)


def _values(told: Mapping[str, Any]) -> dict[str, float]:
    return {name: told[name] for name in ("learning_rate", "decay", "epsilon") if name in told}


def _bytes(summary: Mapping[str, Any]) -> int:
    """Of the scored text, as its two units tell."""
    bits = summary["static_loss"] * summary["tokens"] / np.log(2)
    return round(bits / summary["static_bits_per_byte"])


def made(source: Path) -> dict[str, Any]:
    """When and with what the runs were made, and how long they took."""
    manifests = [run.manifest() for run in find_runs(source)]
    facts = {name: manifests[0][name] for name in ("processor", "threads", "precision", "versions")}
    return {
        "started": min(one["started"] for one in manifests),
        **facts,
        "git_commit": manifests[0]["git_commit"],
        "runs": len(manifests),
        "run_seconds": round(sum(float(one.get("seconds") or 0) for one in manifests)),
    }


@dataclass(frozen=True)
class Told:
    """What is kept of one text."""

    name: str
    about: dict[str, Any]
    tokens: list[int]
    losses: dict[str, Any]  # by name, `static` too: mean nats per token of each update

    @classmethod
    def of(cls, folder: Path) -> "Told":
        """Read it."""
        about = json.loads((folder / "about.json").read_text("utf-8"))
        with (folder / "gain.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = ["static", *about["rules"]]
        losses = {name: np.array([float(row[name]) for row in rows]) for name in names}
        return cls(folder.name, about, [int(row["tokens"]) for row in rows], losses)

    def units(self, loss: float) -> list[str]:
        """A mean loss in nats per token, as perplexity and in bits per byte."""
        bits = loss * self.about["tokens"] / np.log(2) / self.about["bytes"]
        return [f"{loss:.4f}", f"{np.exp(loss):.2f}", f"{bits:.4f}"]

    def apart(self, one: str, other: str) -> str:
        """The paired difference of two, with its interval."""
        series = list(self.losses[one] - self.losses[other])
        found = block_bootstrap(series, seed=self.about["seed"])
        return f"{found.value:.4f} ({found.lower:.4f} to {found.upper:.4f})"


def draw(folder: Path) -> None:
    """Draw the gain along a text, as SVG."""
    told = Told.of(folder)
    gains = {n: gained(told.losses["static"], told.losses[n]).tolist() for n in told.about["rules"]}
    with tempfile.TemporaryDirectory() as made_in:
        draw_gain(told.tokens, gains, Path(made_in))
        drawn = (Path(made_in) / f"{GAIN_FIGURE}.svg").read_text("utf-8")
    (folder / f"{GAIN_FIGURE}.svg").write_text(drawn, "utf-8")


def kept(results: Path) -> list[Told]:
    """Every text that is kept."""
    return [Told.of(path.parent) for path in sorted((results / NAME).glob("*/about.json"))]


def render(results: Path) -> str:
    """The part of docs/findings.md: which rule is better on which text."""
    texts = kept(results)
    if not texts:
        return f"Rules beside one another: not run yet. `collapse-lm {COMMAND}` does the runs."
    return "\n\n".join(["### Rules beside one another", *(_text(told) for told in texts)])


def _text(told: Told) -> str:
    about = told.about
    rows = [
        [
            name,
            ", ".join(f"{value:g}" for value in about["rules"].get(name, {}).values()),
            *told.units(float(told.losses[name].mean())),
            "" if name == "static" else told.apart(name, "static"),
        ]
        for name in told.losses
    ]
    rows.append(["static", "", *told.units(about["static_loss_longest"]), _longest(about)])
    pairs = [[f"{a} - {b}", told.apart(a, b)] for a, b in combinations(about["rules"], 2)]
    units = ["nats/token", "perplexity", "bits/byte"]
    head = ["rule", "rate, decay, epsilon", *units, "minus static (95 %)"]
    between = [_table(["between rules", "nats/token (95 %)"], pairs)] if pairs else []
    figure = f"![Gain along {about['corpus']}](results/{NAME}/{told.name}/{GAIN_FIGURE}.svg)"
    return "\n\n".join([_provenance(told), _table(head, rows), *between, figure])


def _longest(about: Mapping[str, Any]) -> str:
    return f"at context {about['longest_context']}"


def _provenance(told: Told) -> str:
    about = told.about
    tuned = "with the values that each rule has untuned"
    if about["tuned_on"]:
        tuned = f"with values tuned on {about['tuned_tokens']:,} tokens of {about['tuned_on']}"
    return (
        f"{about['model']} on the first {about['tokens']:,} tokens of {about['corpus']}, in "
        f"segments of {about['static_context']}, {tuned}; {about['started'][:10]}, "
        f"{about['processor']}, precision {about['precision']}. Times of the {about['runs']} runs, "
        f"those of the tuning with them, add up to {about['run_seconds'] / 60:.0f} minutes. "
        f"Intervals are paired block bootstraps over updates. "
        f"[Losses](results/{NAME}/{told.name}/gain.csv), "
        f"[settings](results/{NAME}/{told.name}/about.json)."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


if __name__ == "__main__":
    main()
