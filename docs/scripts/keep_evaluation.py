"""Keep what a cache-eval or ngram-eval found: docs/results/evaluations/NAME.json.

.venv/bin/collapse-lm cache-eval smollm2-135m --corpus wikitext2 --tokens 20000 --out DIR
.venv/bin/python docs/scripts/keep_evaluation.py DIR cache-smollm2-wikitext2
.venv/bin/python docs/scripts/render_paper_index.py
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


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
    kept = {
        "evaluation": settings["evaluation"],
        "model": settings["model"]["reference"],
        "corpus": settings["corpus"]["name"],
        "settings": settings,
        "summary": rounded(summary),
    }
    path = chosen.results / "evaluations" / f"{chosen.name}.json"
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


if __name__ == "__main__":
    main()
