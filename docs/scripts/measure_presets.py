"""Run the presets of other papers once, as small as their headers say, and keep what came out.

    .venv/bin/python docs/scripts/measure_presets.py     # a few minutes on two cores
    .venv/bin/python docs/scripts/render_paper_index.py

Writes docs/results/presets/presets.json: time, number of updates and validation loss of each.
Prompts are the beginnings of lines of the training text of the ladder.
"""

import json
import shlex
import tempfile
import time
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.machine.processor import processor
from collapse_lm.rundir import RunReader

OUT = Path(__file__).parents[1] / "results" / "presets" / "presets.json"
NAMES = ("shumailov-2024", "gerstgrasser-2024", "ssd-paper", "ssd-trl")
_PROMPTS, _LENGTH = 32, 60  # lines, and characters of each


def main() -> None:
    """Run each and write the table."""
    told: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "presets": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.jsonl"
        prompts.write_text("".join(prompt_lines()), "utf-8")
        for name in NAMES:
            told["presets"][name] = measured(name, prompts, Path(folder) / name)
            print(name, told["presets"][name])
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def prompt_lines() -> list[str]:
    """Lines of a file of prompts."""
    lines = [line for line in load_corpus("sotu-train").text.splitlines() if len(line) > _LENGTH]
    return [json.dumps({"prompt": line[:_LENGTH]}) + "\n" for line in lines[:_PROMPTS]]


def small(name: str, prompts: Path) -> list[str]:
    """The overrides of the command in a header that shrinks a preset."""
    path = resources.files("collapse_lm.config") / "presets" / f"{name}.yaml"
    lines = [line.removeprefix("#").strip() for line in path.read_text("utf-8").splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("Small: "))
    ends = (n for n in range(start, len(lines)) if not lines[n].startswith(("Small: ", "--set")))
    words = shlex.split(" ".join(lines[start : next(ends)]))
    return [word.replace("=PROMPTS", f"={prompts}") for word in words if "=" in word]


def measured(name: str, prompts: Path, out: Path) -> dict[str, Any]:
    """Run one and tell of it."""
    config = load_config(name, [*small(name, prompts), "run.report=false", "observers=[]"])
    started = time.perf_counter()
    done = collapse_lm.run(config, out)
    seconds = time.perf_counter() - started
    start, end = (done.summary["validation"][place] for place in ("start", "end"))
    (corpus,) = (one["name"] for one in RunReader(done.directory).manifest()["corpora"])
    return {
        "model": config.model,
        "updates": done.summary["updates"],
        "seconds": round(seconds, 1),
        "status": done.summary["status"],
        "corpus": corpus,
        "start": round(start[corpus], 4),
        "end": round(end[corpus], 4),
    }


if __name__ == "__main__":
    main()
