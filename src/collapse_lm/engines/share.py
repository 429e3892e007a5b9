"""How one machine is divided among runs that go on at the same time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Worker processes, the threads of each, and the CUDA devices they take in turn."""

    jobs: int
    threads: int
    devices: tuple[str, ...]


def share_machine(jobs: int | None) -> Share:
    """Divide this machine's threads and GPUs: one run per GPU, or one on the processors.

    Args:
        jobs: runs at a time; None chooses.
    """
    import torch

    devices = tuple(map(str, range(torch.cuda.device_count())))
    chosen = jobs or max(1, len(devices))
    return Share(chosen, max(1, torch.get_num_threads() // chosen), devices)
