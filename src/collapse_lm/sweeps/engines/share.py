"""How one machine is divided among runs that go on at the same time."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Worker processes, the threads of each, and the CUDA devices they take in turn.

    A device is named as in CUDA_VISIBLE_DEVICES, which may hide others from us.
    """

    jobs: int
    threads: int
    devices: tuple[str, ...]


def share_machine(jobs: int | None) -> Share:
    """Divide this machine's threads and GPUs: one run per GPU, or one on the processors.

    Args:
        jobs: runs at a time; None chooses.
    """
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    devices = tuple(named if len(named) == count else map(str, range(count)))
    chosen = jobs or max(1, len(devices))
    return Share(chosen, max(1, torch.get_num_threads() // chosen), devices)
