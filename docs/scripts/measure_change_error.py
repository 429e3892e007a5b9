"""Is the standard error of a change of the validation loss the spread over other tokens?

    python docs/scripts/measure_change_error.py       # SmolLM2-135M on sotu-train, some minutes

A model is trained on its own samples for some updates of the quickstart. Base model and
trained model are then scored on disjoint evaluation budgets of one text, each spread over
the whole of it as the windows of a run are. The standard deviation of the change over the
budgets is held against the mean of the standard errors that each budget gives by itself.
Rule, written before the first run: their ratio lies between 1/1.5 and 1.5.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import collapse_lm
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.inference import inference_network
from collapse_lm.measures.change import Change, block_sizes, change
from collapse_lm.measures.validation import score
from collapse_lm.models.load import load_model

CONTEXT = 512  # tokens of a window, as in the quickstart
BUDGETS = 30  # without which a spread says too little


def main() -> None:
    """Train, score and print a table over budgets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--corpus", default="sotu-train")
    parser.add_argument("--windows", type=int, default=256, help="of 512 tokens, scored in all")
    parser.add_argument("--sums", type=Path, help="keep the losses by block here (.npz)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = collapse_lm.run(
            "quickstart",
            Path(folder) / "run",
            overrides=[
                f"run.max_updates={options.updates}",
                "collapse.stop=false",
                f"run.threads={torch.get_num_threads()}",
                "run.export_model=true",
                "evaluation.tokens=64",
                "observers=[]",
            ],
        )
        models = [load_model("smollm2-135m"), load_model(str(run.directory / "model"))]
    corpus, base = load_corpus(options.corpus), models[0]
    whole = EvaluationSet.build(corpus, base.tokenizer, base.start_token, CONTEXT)
    step = len(whole.windows) / options.windows
    chosen = [whole.windows[int(place * step)] for place in range(options.windows)]
    found = replace(whole, windows=tuple(w for w in chosen if w.targets == CONTEXT))
    networks = [inference_network(model.network, "bfloat16") for model in models]
    with torch.inference_mode():
        sums = [score(network, found)[1].view(len(found.windows), -1) for network in networks]
    if options.sums:
        before, after = (of_model.numpy() for of_model in sums)
        np.savez(options.sums, before=before, after=after, split_tokens=found.split_tokens)
    print(f"{options.corpus}: {found.tokens:,} of {found.split_tokens:,} tokens scored")
    print("| tokens of a budget | budgets | change | spread | mean standard error | ratio |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for windows in (4, 8):
        if len(found.windows) // windows >= BUDGETS:
            print("| " + " | ".join(over_budgets(sums, found, windows)) + " |")


def over_budgets(sums: list[torch.Tensor], found: EvaluationSet, windows: int) -> list[str]:
    """The cells of a row: spread over disjoint budgets against their own standard errors.

    Args:
        sums: of the base model and the trained one, -log p by window and block, in nats.
        found: what was scored.
        windows: of one budget.
    """
    budgets = len(found.windows) // windows
    changes = [of_budget(sums, found, slice(first, None, budgets)) for first in range(budgets)]
    spread = statistics.stdev(one.mean for one in changes)
    error = statistics.mean(one.error for one in changes)
    mean = statistics.mean(one.mean for one in changes)
    numbers = (f"{mean:.4f}", f"{spread:.4f}", f"{error:.4f}", f"{error / spread:.2f}")
    return [f"{windows * CONTEXT:,}", str(budgets), *numbers]


def of_budget(sums: list[torch.Tensor], found: EvaluationSet, windows: slice) -> Change:
    """The change on some of the windows, as a run that scored these would record it."""
    before, after = (of_model[windows].reshape(-1).numpy() for of_model in sums)
    count = len(sums[0][windows])
    sizes = [size for sizes in block_sizes([CONTEXT] * count) for size in sizes]
    return change(before, after, sizes, found.split_tokens)


if __name__ == "__main__":
    main()
