"""One decoding pass: ours, transformers' own, and what the machine could do.

    python benchmarks/decode.py      # SmolLM2-135M; --model DIR for another

All contenders take turns in one process, so that a machine that changes its speed
changes it for all. Prints one table and writes it, dated, beside this file.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from roofline import weight_matrices, weight_passes
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from collapse_lm.inference import inference_network
from collapse_lm.machine.allocator import keep_freed_memory
from collapse_lm.machine.compute import Precision
from collapse_lm.machine.processor import processor
from collapse_lm.models.load import load_model

CACHED = 100  # tokens in the cache before the pass
ALONE = "the weights alone: "
HERE = Path(__file__).parent


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    keep_freed_memory()
    model = load_model(options.model)
    passes = contenders(model.network)
    weights = weight_passes(weight_matrices(model.network))
    passes |= {ALONE + name: work for name, (_, work) in weights.items()}
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(options.rounds + 2):
        for name, one_pass in passes.items():
            begin = time.perf_counter()
            one_pass()
            if turn >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    speeds = {name: size / medians[ALONE + name] for name, (size, _) in weights.items()}
    size, _ = weights["torch, bfloat16"]
    speeds["our pass, bfloat16, 1 row"] = size / medians["ours, bfloat16, 1 row"]
    write(options.model, options.rounds, medians, speeds)


def contenders(master: torch.nn.Module) -> dict[str, Callable[[], object]]:
    """Return the passes by name."""
    formats: tuple[Precision, ...] = ("bfloat16", "float32")
    ours = {dtype: inference_network(master, dtype, decodes=True) for dtype in formats}
    caches = {dtype: network.new_cache(1, 200) for dtype, network in ours.items()}

    def our_pass(dtype: str, rows: int) -> Callable[[], object]:
        ids = torch.ones(1, rows, dtype=torch.long)

        def one_pass() -> object:
            caches[dtype].rewind([CACHED])
            return ours[dtype].logits(ours[dtype].hidden(ids, caches[dtype])[0])

        return one_pass

    return {
        "ours, bfloat16, 1 row": our_pass("bfloat16", 1),
        "ours, bfloat16, 8 rows": our_pass("bfloat16", 8),
        "ours, bfloat16, 16 rows": our_pass("bfloat16", 16),
        "ours, float32, 1 row": our_pass("float32", 1),
        "transformers, bfloat16, 1 row": their_pass(master, torch.bfloat16, 1),
        "transformers, bfloat16, 8 rows": their_pass(master, torch.bfloat16, 8),
        "transformers, float32, 1 row": their_pass(master, torch.float32, 1),
    }


def their_pass(master: torch.nn.Module, dtype: torch.dtype, rows: int) -> Callable[[], object]:
    """A step of transformers with its own cache."""
    network = AutoModelForCausalLM.from_config(master.config, dtype=dtype).eval()
    network.load_state_dict(master.state_dict())
    cache = DynamicCache(config=network.config)
    ids = torch.ones(1, rows, dtype=torch.long)

    @torch.inference_mode()
    def one_pass() -> object:
        if cache.get_seq_length() > CACHED:
            cache.crop(CACHED - cache.get_seq_length())
        return network(input_ids=ids, past_key_values=cache).logits.float()

    with torch.inference_mode():
        network(input_ids=torch.ones(1, CACHED, dtype=torch.long), past_key_values=cache)
    return one_pass


def write(model: str, rounds: int, medians: dict[str, float], speeds: dict[str, float]) -> None:
    """Print the table; write it as Markdown and JSON."""
    machine = f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    lines = [
        f"# One decoding pass of {Path(model).name}, {CACHED} tokens in the cache",
        f"{date.today()}, {machine}; median of {rounds} alternating rounds.",
        "",
        "| pass | ms |",
        "| --- | ---: |",
        *(f"| {name} | {1000 * value:.1f} |" for name, value in medians.items()),
        "",
        "| weights read, one row | GB/s |",
        "| --- | ---: |",
        *(f"| {name} | {value / 1e9:.1f} |" for name, value in speeds.items()),
    ]
    print("\n".join(lines))
    stem = f"decode-{Path(model).name}-{date.today()}"
    (HERE / f"{stem}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = {
        "model": model,
        "date": str(date.today()),
        "machine": machine,
        "seconds": medians,
        "bytes_per_second": speeds,
    }
    (HERE / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
