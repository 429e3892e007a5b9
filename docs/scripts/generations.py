"""The generations of a sweep beside human text: a table of docs/findings.md.

    .venv/bin/python docs/scripts/keep_results.py SWEEP_DIR generations --names validation.loss
        validation.change train.loss probe.entropy generation pool.distinct_2 types.rare_share
    .venv/bin/python docs/scripts/generations.py
    .venv/bin/python docs/scripts/render_findings.py

Writes docs/results/generations/human.json: what as many windows of the human text have as the
last five probes have samples, of the same length; the mean over sets of windows spread evenly
over the text. The rest of the table comes from updates.csv.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import collapse_lm
from collapse_lm.analysis.kept import Kept, read_kept
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.predictions.generations import LAST, at_end
from collapse_lm.analysis.predictions.select import losses
from collapse_lm.config.kinds.measure import Types as TypesConfig
from collapse_lm.measures.pool import PROBES, Pool
from collapse_lm.measures.types import most_frequent, type_values

FOLDER = Path(__file__).parents[1] / "results" / "generations"
HUMAN = "human.json"
DISTINCT, RARE = "pool.distinct_2", "types.rare_share"
_SETS = 20  # of windows


def main() -> None:
    """Measure human text, and keep it."""
    found = human(read_kept(FOLDER))
    (FOLDER / HUMAN).write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(FOLDER / HUMAN, found)


def human(kept: Kept) -> dict[str, float | int | str]:
    """What windows of the text of generation 0 have."""
    config = kept.runs[0].config
    corpus = kept.about["config"]["source.real.corpus"]
    (types,) = [one for one in config.measures if isinstance(one, TypesConfig)]
    model = collapse_lm.load_model(config.model)
    ids = collapse_lm.evaluation_set(model, corpus).ids[1:].tolist()
    length, samples = config.sampling.max_new_tokens, int(config.probe.samples or 1)
    frequent = most_frequent(ids, types.frequent)
    told = [pooled(w, samples, frequent) for w in sets_of_windows(ids, length, samples * PROBES)]
    return {
        "corpus": corpus,
        "tokens": length,
        "windows": samples * PROBES,
        "sets": len(told),
        DISTINCT: round(fmean(one[0] for one in told), 4),
        RARE: round(fmean(one[1] for one in told), 4),
    }


def sets_of_windows(ids: Sequence[int], length: int, count: int) -> Iterator[list[Sequence[int]]]:
    """Sets of so many windows, each spread over the whole text."""
    step = len(ids) // (count * _SETS)
    windows = [ids[start : start + length] for start in range(0, step * count * _SETS, step)]
    for first in range(_SETS):
        yield windows[first::_SETS]


def pooled(
    windows: Sequence[Sequence[int]], samples: int, frequent: frozenset[int]
) -> tuple[float, float]:
    """Distinct bigrams and the share of rare types of windows as the samples of probes."""
    pool, told = Pool(), dict[str, float]()
    for start in range(0, len(windows), samples):
        told = dict(pool.see(windows[start : start + samples]))
    rare = type_values(list(chain.from_iterable(windows)), frequent)[RARE]
    return float(told[DISTINCT]), float(rare)


def rows(arms: dict[str, list[Measured]], folder: Path) -> list[list[str]]:
    """A row per arm, means over its runs at the end of each generation; then human text."""
    found = []
    for runs in arms.values():
        series: list[Callable[[Measured], dict[int, float]]] = [
            losses,
            lambda run: run.series(DISTINCT),
            lambda run: run.series(RARE),
        ]
        found.append([label(runs[0]), *(_course(runs, one) for one in series)])
    if (folder / HUMAN).is_file():
        told = json.loads((folder / HUMAN).read_text("utf-8"))
        words = f"human text ({told['corpus']}), {told['windows']} windows of {told['tokens']}"
        found.append([words, "", f"{told[DISTINCT]:.3f}", f"{told[RARE]:.3f}"])
    return found


def label(run: Measured) -> str:
    """What is trained on what in each generation."""
    source: Any = run.config.source
    rate = run.config.training.learning_rate
    keep = f"{source.keep} with a share of {share:g} human" if (share := source.real.share) else ""
    start = "from scratch" if source.start == "scratch" else "from the pretrained model"
    epochs = f"{source.epochs} epoch{'s' if source.epochs > 1 else ''}"
    return f"{start}, {epochs} at {rate:g}: {keep or source.keep}"


def _course(runs: Sequence[Measured], series: Callable[[Measured], dict[int, float]]) -> str:
    means = [fmean(at_end(run, series(run), g) for run in runs) for g in range(LAST + 1)]
    return ", ".join(f"{mean:.3f}" for mean in means)


TOLD = (
    "By generation, means over seeds. Generation 0 is trained on human text, and is what the later "
    "ones are to be compared with: runs from scratch did not begin with the pretrained model, with "
    "which changes and states of the table above compare all. *Distinct bigrams*: different as a "
    f"share of all, of the last {PROBES} probes together. *Rare types*: of their different tokens, "
    "the share that is not among the most frequent of the human text (measure `types`)."
)
HEAD = (
    "arm",
    f"validation loss at the ends of generations 0 to {LAST}, nats",
    "distinct bigrams",
    "rare types",
)


if __name__ == "__main__":
    main()
