"""Measure how the resident memory of a run grows with its updates.

    python tests/stress/memory.py [--updates 2000]

Two runs: one whose samples stay diverse (the look-up of speculation learns most) and one
that collapses and goes on. The slope is a least-squares line after the first 100 updates.
"""

import argparse
import tempfile
import time
from pathlib import Path

from common import report, tiny_words


class Resident:
    """Notes the resident memory of a process after each update, in MB."""

    def __init__(self, process, noted):
        self.process, self.noted = process, noted

    def start(self, run):
        pass

    def update(self, record):
        self.noted.append(self.process.memory_info().rss / 1e6)

    def end(self, summary):
        pass


def slope(updates: int, *changes: str) -> dict[str, object]:
    """MB of resident memory per 1,000 updates, after the first 100."""
    import numpy as np
    import psutil
    import torch

    import collapse_lm

    torch.set_num_threads(1)
    process, resident = psutil.Process(), []
    with tempfile.TemporaryDirectory() as name:
        words = tiny_words(
            Path(name), f"run.max_updates={updates}", "collapse.stop=false", *changes
        )
        collapse_lm.run(
            "quickstart",
            Path(name) / "run",
            overrides=[word for word in words[2:] if word != "--set"],
            observers=[Resident(process, resident)],
        )
    later = np.arange(100, len(resident))
    line = np.polyfit(later, resident[100:], 1)
    return {
        "updates": updates,
        "MB per 1,000 updates": round(float(line[0]) * 1000, 3),
        "MB at update 100": round(resident[100]),
        "MB at the end": round(resident[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--rate", choices=["1e-7", "3e-3"], help="one process, one run")
    chosen = parser.parse_args()
    for rate in [chosen.rate] if chosen.rate else ["1e-7", "3e-3"]:
        begin = time.perf_counter()
        changes = (f"training.learning_rate={rate}", "run.checkpoint_every=auto")
        found = slope(chosen.updates, *changes)
        seconds = round(time.perf_counter() - begin)
        report(f"memory, learning rate {rate}", {**found, "seconds": seconds})


if __name__ == "__main__":
    main()
