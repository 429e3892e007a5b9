"""What two processes of `accelerate launch` do under a monitor: each writes what became of it.

accelerate launch --multi_gpu --num_processes 2 tests/two_processes.py FOLDER
"""

import json
import logging
import sys
from pathlib import Path

import torch

from collapse_lm.errors import UserError
from collapse_lm.monitor import CollapseMonitor

from trained import QUICK, train, windows

SETTINGS = {"data": windows("a" * 60), "learning_rate": 1e-2, "max_steps": 12}


class Told(logging.Handler):
    """The warnings of this process."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


class FailsInTheSecond(CollapseMonitor):
    def _attach(self):
        if torch.distributed.get_rank() == 1:
            raise RuntimeError("the second")
        super()._attach()


def burst(finding):
    raise RuntimeError("the first")


def main(folder):
    monitors = {
        "sound": CollapseMonitor(every=4, out=folder / "sound", **QUICK),
        "stops": CollapseMonitor(every=2, out=folder / "stops", on_collapse="stop", **QUICK),
        "first fails": CollapseMonitor(every=2, out=folder / "first", on_collapse=burst, **QUICK),
        "second fails": FailsInTheSecond(every=2, out=folder / "second", **QUICK),
    }
    told = Told()
    logging.getLogger("collapse_lm.monitor").addHandler(told)
    for name, monitor in monitors.items():
        told.messages.clear()
        calm = {"data": None, "learning_rate": 1e-4} if name == "sound" else {}
        trainer = train(folder / "trained" / name, monitor, **{**SETTINGS, **calm})
        heard = {
            "name": name,
            "rank": torch.distributed.get_rank(),
            "steps": trainer.state.global_step,
            "told": [message for message in told.messages if "switched off" in message],
            "loss": trainer.state.log_history[-2]["loss"],
        }
        tell(folder, heard)
    refused(folder)
    torch.distributed.barrier()  # one that ends while the other still speaks to it ends it too
    torch.distributed.destroy_process_group()


def tell(folder, heard):
    """Each process has a file of its own: lines of two on one stream run into each other."""
    with (folder / f"told-{heard['rank']}.jsonl").open("a", encoding="utf-8") as file:
        print(json.dumps(heard), file=file)


def refused(folder):
    """A model that the monitor cannot read, as no position is left for its samples."""
    monitor = CollapseMonitor(out=folder / "refused", **{**QUICK, "max_new_tokens": 1000})
    try:
        train(folder / "trained" / "refused", monitor, **SETTINGS)
    except UserError as error:
        rank = torch.distributed.get_rank()
        heard = {"name": "refused", "rank": rank, "told": str(error)}
        tell(folder, heard)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
