"""Whole runs: ours against transformers and the reference code's algorithm, in turns.

    make bench                                     # 5 updates of the quickstart, 3 rounds
    make bench ARGS="--updates 40"                 # the whole comparison (hours)
    make bench ARGS="--preset paper --model DIR --updates 2 --contenders ours reference"

Every contender runs once per round, all in one process, so that a machine that
changes its speed changes it for all. Prints one table and writes it, dated, with every
measured second, beside this file.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import torch
from roofline import bytes_per_second, flop_per_second, weight_matrices

from collapse_lm.config import Config, load_config
from collapse_lm.experiment.build import evaluation_sets, load_corpora
from collapse_lm.machine.allocator import keep_freed_memory
from collapse_lm.machine.processor import processor
from collapse_lm.models.load import load_model

from contenders import CONTENDERS, Contender, Seconds

HERE = Path(__file__).parent
PHASES = ("sample", "train", "evaluate")


@dataclass
class Timing:
    """What a contender took: seconds of whole runs, and of every update by phase."""

    runs: list[float] = field(default_factory=list)
    updates: list[list[Seconds]] = field(default_factory=list)

    def add(self, contender: Contender, config: Config, updates: int) -> None:
        """Time a run; one of fewer updates than configured is scaled up by its median update."""
        wanted = config.run.max_updates
        begin = time.perf_counter()
        run = config.run.model_copy(update={"max_updates": updates})
        seconds = list(contender(config.model_copy(update={"run": run})))
        took = time.perf_counter() - begin
        per_update = statistics.median(
            sum(u[p] for p in PHASES) for u in seconds[2:] or seconds[1:]
        )
        self.updates.append(seconds)
        self.runs.append(took + (wanted - updates) * per_update)

    def median(self, *phases: str) -> float:
        """Median over all updates, the first of each run apart (it warms up)."""
        return statistics.median(
            sum(u[p] for p in phases) for run in self.updates for u in run[2:] or run[1:]
        )

    def total(self, name: str) -> float:
        """Sum over all updates of all runs."""
        return sum(u[name] for run in self.updates for u in run[1:])


def main() -> None:
    """Measure, print and write."""
    options = parse()
    keep_freed_memory()
    overrides = [f"run.max_updates={options.updates}", "collapse.stop=false", *options.set]
    config = load_config(
        options.preset, overrides + ([f"model={options.model}"] if options.model else [])
    )
    names = [n for n in CONTENDERS if any(n.startswith(wanted) for wanted in options.contenders)]
    timings = {name: Timing() for name in names}
    short = config.model_copy(update={"run": config.run.model_copy(update={"max_updates": 1})})
    for name in names:
        list(CONTENDERS[name](short))  # compiles, imports and touches what the first run would
    for turn in range(options.rounds):
        for name in names:
            timings[name].add(CONTENDERS[name], config, shorter_run(name, options))
            print(f"round {turn + 1}  {name}: {timings[name].runs[-1]:.1f} s", flush=True)
    write(options, config, timings)


def shorter_run(name: str, options: argparse.Namespace) -> int:
    """Updates that a contender is timed over: ours all, as its passes become fewer."""
    if name == "ours" or options.plain_updates is None:
        return options.updates
    return min(options.updates, options.plain_updates)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="quickstart")
    parser.add_argument("--model", help="instead of the preset's")
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument(
        "--plain-updates",
        type=int,
        help="time the others, whose updates all cost the same, over this many and scale up",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--contenders", nargs="+", default=["ours", "transformers"], help="beginnings of names"
    )
    parser.add_argument("--set", nargs="*", default=[], help="key=value of the configuration")
    return parser.parse_args()


def write(options: argparse.Namespace, config: Config, timings: dict[str, Timing]) -> None:
    """Print the tables; write them as Markdown and all numbers as JSON."""
    model = load_model(config.model)
    sets = evaluation_sets(config, model, load_corpora(config))
    tokens = sum(data.tokens for data in sets)
    matrices = weight_matrices(model.network)
    speeds, flops = bytes_per_second(matrices), flop_per_second()
    size = sum(matrix.numel() for matrix in matrices)
    bytes_best, flop_best = max(speeds.values()), max(flops.values())
    new = config.sampling.max_new_tokens * config.sampling.batch_size
    trained = config.training.window or new
    peak = peak_rss(options)

    def roofline(timing: Timing) -> float:
        """Seconds of an update if each weight byte and each operation came at the best speed."""
        passes = timing.total("passes") / sum(len(run) - 1 for run in timing.updates)
        work = 2 * size * (3 * trained + tokens)
        return passes * 2 * size / bytes_best + work / flop_best

    machine = f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    first = next(iter(timings.values()))
    lines = [
        f"# {options.preset}, {Path(config.model).name}: {options.updates} updates, "
        f"{options.rounds} rounds in turns",
        f"{date.today()}, {machine}. Per update: {new} sampled, {tokens} evaluation tokens.",
        "Whole runs: median. Sampling: all updates. Other phases: median without the first update."
        + (
            f" Contenders other than ours ran {options.plain_updates} updates and are scaled up."
            if options.plain_updates
            else ""
        ),
        "",
        "| contender | run s | slower than ours | s per update | sampling tokens/s | "
        "passes per token | step s | evaluation tokens/s | roofline / update |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, timing in timings.items():
        run, update = statistics.median(timing.runs), timing.median(*PHASES)
        lines.append(
            f"| {name} | {run:.1f} | {run / statistics.median(first.runs):.2f} | {update:.2f} | "
            f"{timing.total('tokens') / timing.total('sample'):.1f} | "
            f"{timing.total('passes') / timing.total('tokens'):.3f} | "
            f"{timing.median('train'):.2f} | {tokens / timing.median('evaluate'):.0f} | "
            f"{roofline(timing) / update:.2f} |"
        )
    lines += [
        "",
        "Roofline: weights of one pass over one row, GB/s: "
        + "; ".join(f"{name} {value / 1e9:.1f}" for name, value in speeds.items())
        + ". Product of 2048 x 2048 matrices, GFLOP/s: "
        + "; ".join(f"{name} {value / 1e9:.0f}" for name, value in flops.items())
        + ".",
        f"Peak memory of `collapse-lm run {options.preset}` over 3 updates: {peak / 1e9:.2f} GB.",
    ]
    print("\n" + "\n".join(lines))
    stem = f"{options.preset}-{Path(config.model).name}-{options.updates}-updates-{date.today()}"
    (HERE / f"{stem}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = {
        "date": str(date.today()),
        "machine": machine,
        "config": config.model_dump(mode="json"),
        "evaluation_tokens": tokens,
        "bytes_per_second": speeds,
        "flop_per_second": flops,
        "peak_rss_bytes": peak,
        "contenders": {n: {"runs": t.runs, "updates": t.updates} for n, t in timings.items()},
    }
    (HERE / f"{stem}.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


def peak_rss(options: argparse.Namespace) -> int:
    """Peak resident memory in bytes of our command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            "run.max_updates=3",
            *options.set,
            *([f"model={options.model}"] if options.model else []),
        ]
        sets = [part for override in overrides for part in ("--set", override)]
        arguments = ["run", options.preset, "--out", f"{folder}/run", *sets]
        command = [sys.executable, "-c", _TELLING_ITS_PEAK, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(arguments)} ended with {done.returncode}\n{done.stderr}")
        return int(done.stdout.rpartition("VmHWM:")[2].split()[0]) * 1024


# The system's own account of a child counts what its parent held before it began.
_TELLING_ITS_PEAK = """
import atexit, pathlib
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text()))
from collapse_lm.cli.main import main
main()
"""


if __name__ == "__main__":
    main()
