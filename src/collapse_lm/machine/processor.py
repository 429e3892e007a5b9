"""Which processor does the work, and how much of it other work takes meanwhile.

A time holds for one class of processor (the instructions that it has for bfloat16 decide
most), and only while nothing else runs: threads that wait for one another lose far more
than the share that other work takes.
"""

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

_CPUINFO = Path("/proc/cpuinfo")
_SHORTEST = 0.5  # seconds; the system counts in hundredths
_NOTICED = 0.25  # cores that other work may take without a word


def processor() -> str:
    """The processor and its class: the widest instructions that its pace depends on."""
    return f"{_model()} ({_instructions()})"


def _model() -> str:
    """Name of the model, as Linux tells it; elsewhere what Python knows."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", _CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _instructions() -> str:
    """The best of what the kernels choose by; the machine's kind where it is none of x86."""
    known = {
        "AMX": torch.cpu._is_amx_tile_supported(),
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AVX512": torch.cpu._is_avx512_supported(),
        "AVX2": torch.cpu._is_avx2_supported(),
    }
    return next((name for name, is_there in known.items() if is_there), platform.machine())


@dataclass(frozen=True)
class Estimate:
    """How long something takes, and what the number holds for.

    Attributes:
        seconds: wall time.
        processor: that it was measured on, with its class.
        warning: what is wrong with the number; None where the machine was quiet.
    """

    seconds: float
    processor: str
    warning: str | None


class OtherWork:
    """Counts the cores that other work keeps busy, from its making on."""

    def __init__(self) -> None:
        self._begin, self._busy, self._own = _now()

    def cores(self) -> float:
        """Mean number of cores, over half a second at least."""
        time.sleep(max(0.0, _SHORTEST - (time.perf_counter() - self._begin)))
        end, busy, own = _now()
        return max(0.0, (busy - self._busy - (own - self._own)) / (end - self._begin))

    def estimate(self, seconds: float) -> Estimate:
        """What was measured since then, with what it holds for."""
        return Estimate(seconds, processor(), told_if_busy(self.cores()))


def told_if_busy(others: float) -> str | None:
    """What to say of a time that was measured beside other work; None on a quiet machine.

    Args:
        others: cores that other work kept busy.
    """
    cores = len(_cores())
    if others <= _NOTICED or others + torch.get_num_threads() <= cores + _NOTICED:
        return None
    return (
        f"other work keeps {others:.1f} of {cores} cores busy: "
        "on a quiet machine it takes less, and may take far less"
    )


def seconds_of(work: Callable[[], object]) -> float:
    """Time of the shorter of two calls; one before them warms up."""
    work()
    return min(_time(work), _time(work))


def _time(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _now() -> tuple[float, float, float]:
    """Wall time, and processor seconds of all processes and of this one."""
    each = psutil.cpu_times(percpu=True)
    busy = sum(_busy(each[core]) for core in _cores() if core < len(each))
    return time.perf_counter(), busy, time.process_time()


def _busy(times: object) -> float:
    """Seconds in which a core worked, or another guest of the same host had it."""
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, name, 0.0) for name in names))


def _cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
