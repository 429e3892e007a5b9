"""Keep what a cache-eval or ngram-eval found: docs/results/evaluations/NAME.json.

    .venv/bin/collapse-lm cache-eval smollm2-135m --corpus wikitext2 --tokens 20000 --out DIR
    .venv/bin/python docs/scripts/evaluations.py DIR cache-smollm2-wikitext2
    .venv/bin/python docs/scripts/render_findings.py
    .venv/bin/python docs/scripts/render_paper_index.py

The tables of docs/findings.md are rendered from there.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
NAME = "evaluations"
MADE = ("date", "processor", "threads", "versions", "git_commit")

Cells = list[str]


def main(words: Sequence[str] | None = None) -> None:
    """Keep one folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="folder of the evaluation")
    parser.add_argument("name", help="of the file")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(words)
    settings, summary = (
        json.loads((chosen.source / f"{name}.json").read_text("utf-8"))
        for name in ("settings", "summary")
    )
    machine = json.loads((chosen.source / "machine.json").read_text("utf-8"))
    kept = {
        "evaluation": settings["evaluation"],
        "model": settings["model"]["reference"],
        "corpus": settings["corpus"]["name"],
        "made": {name: machine[name] for name in MADE},
        "settings": settings,
        "summary": rounded(summary),
    }
    path = chosen.results / NAME / f"{chosen.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    print(f"{path}  {path.stat().st_size:,} bytes")


def rounded(value: Any) -> Any:
    """Numbers with five significant digits, as in the other tables."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def kept(kind: str, results: Path = RESULTS) -> Iterator[tuple[str, Any]]:
    """What was kept of a kind of evaluation, by name."""
    for path in sorted((results / NAME).glob("*.json")):
        one = json.loads(path.read_text("utf-8"))
        if one["evaluation"] == kind:
            yield path.stem, one


def _number(value: float | None) -> str:
    """Of no token there is no mean."""
    return "" if value is None else f"{value:.4f}"


def apart(found: Mapping[str, Any], suffix: str = "") -> str:
    """A difference with its interval."""
    value, low, high = (
        found[f"{name}{suffix}"] for name in ("difference", "difference_lower", "difference_upper")
    )
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def render(results: Path = RESULTS) -> str:
    """The sections of docs/findings.md."""
    cached, drawn = list(kept("cache-eval", results)), list(kept("ngram-eval", results))
    parts = ["## Cache of the newest tokens"]
    if cached:
        rows = [row for name, one in cached for row in cache_rows(name, one)]
        some = [one for _, one in cached]
        parts += [_CACHE_TOLD + asked_of(some) + made(some), table(CACHE_HEAD, rows)]
    else:
        parts.append(_not_yet("cache-eval"))
    parts.append("## n-grams of a model's samples")
    if not drawn:
        parts.append(_not_yet("ngram-eval"))
    for name, one in drawn:
        found = one["summary"]
        model = f"[{one['model']}](results/{NAME}/{name}.json)"
        parts += [
            f"{model} on {one['corpus']}, perplexities; the model's own is "
            f"{found['static_perplexity']:.4g}. *Both*: n-grams of samples interpolated with those "
            f"of all {found['real_tokens']:,} tokens of {one['settings']['real']['name']}; its "
            f"weight is from pieces of that text that are held out, and a piece lies beside "
            f"others of its text. {made([one])}",
            table(NGRAM_HEAD, list(ngram_rows(found))),
        ]
    return "\n\n".join(parts)


def made(some: Sequence[Mapping[str, Any]]) -> str:
    """When and where evaluations were made."""
    days = sorted({one["made"]["date"] for one in some})
    places = sorted({one["made"]["processor"] for one in some})
    return f"{', '.join(days)}; {', '.join(places)}."


def _not_yet(command: str) -> str:
    return f"Not run yet. `collapse-lm {command} MODEL --corpus TEXT` does one."


_CACHE_TOLD = (
    "Losses in nats per token, in windows of a context each behind the token before it, so that a "
    "token sees half of a window on average. The difference is that with the cache less that "
    "without it; it is told also as the mean over tokens that were in the cache, and over the "
    "others, each of which pays what the weights take from the model. Ladder "
    "models were trained on sotu-train. "
)


def asked_of(some: Sequence[Mapping[str, Any]]) -> str:
    """Size of the cache, and what its weights are from."""
    summaries = [one["summary"] for one in some]
    told = {
        f"A cache of {s['cache']} tokens, weights from {s['tuned_tokens']:,} of {s['tuned_on']}"
        for s in summaries
    }
    return f"{'; '.join(sorted(told))}. "


CACHE_HEAD = (
    *("model", "text", "context", "static", "with the cache", "difference (95 %)"),
    *("where cached", "elsewhere", "tokens cached"),
)


def cache_rows(name: str, one: Mapping[str, Any]) -> Iterator[Cells]:
    """A row per context."""
    found = one["summary"]
    for suffix, context in (("", "static_context"), ("_longest", "longest_context")):
        yield [
            f"[{one['model']}](results/{NAME}/{name}.json)",
            *(one["corpus"], str(found[context])),
            *(f"{found[f'{what}_loss{suffix}']:.4f}" for what in ("static", "cache")),
            apart(found, suffix),
            *(_number(found[f"difference_{w}{suffix}"]) for w in ("cached", "not_cached")),
            f"{found['cached_share']:.1%}",
        ]


NGRAM_HEAD = (
    *("order", "tokens", "n-grams of samples", "of as many real tokens", "both"),
    *("both - real alone, nats (95 %)", "weight of samples"),
)


def ngram_rows(found: Mapping[str, Any]) -> Iterator[Cells]:
    """A row per order and number of tokens; perplexities."""
    for order, by in found["ngrams"].items():
        for count, told in by.items():
            real, both = (told.get(f"{what}_perplexity") for what in ("real", "mixed"))
            yield [
                *(order, f"{int(count):,}", f"{told['perplexity']:.4g}"),
                *("" if value is None else f"{value:.4g}" for value in (real, both)),
                *(("", "") if both is None else (apart(told), f"{told['weight']:.3f}")),
            ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


if __name__ == "__main__":
    main()
