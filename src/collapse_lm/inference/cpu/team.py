"""The threads that run a kernel: those that torch already has.

torch's threads belong to its OpenMP library. Asking the same library to start a
kernel uses the same threads; a second set would fight them for the processors.
"""

import ctypes
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import torch
from numba import carray, cfunc, types

from collapse_lm.inference.cpu.tile import compiled

meet = types.ExternalFunction("GOMP_barrier", types.void())
"""Wait until every thread of the team has come here."""

_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


@compiled
def share(total: Any, thread: Any, threads: Any) -> Any:
    """Return where a thread's part of a range begins and ends."""
    return total * thread // threads, total * (thread + 1) // threads


def run(part: Callable[[Any, Any, Any], None], arguments: Sequence[int]) -> None:
    """Run part(arguments, thread, threads) on every thread of torch's team."""
    region = _region(part, len(arguments))
    packed = np.array(arguments, dtype=np.int64)
    _openmp().GOMP_parallel(region, packed.ctypes.data, torch.get_num_threads(), 0)


def is_available() -> bool:
    """True where torch runs its threads by GNU's OpenMP (Linux)."""
    return _openmp_library() is not None


@functools.cache
def _region(part: Any, count: int) -> int:
    """Compile what every thread runs; return its address."""
    _openmp()

    @cfunc(types.void(types.CPointer(types.int64)))
    def region(arguments: Any) -> None:
        part(carray(arguments, (count,)), np.int64(_thread()), np.int64(_threads()))

    _KEPT.append(region)
    address: int = region.address
    return address


_KEPT: list[Any] = []  # compiled code lives as long as the object that holds it


@functools.cache
def _openmp() -> ctypes.CDLL:
    """Open torch's OpenMP library, and let compiled code find its functions by name."""
    path = _openmp_library()
    assert path is not None
    llvmlite.binding.load_library_permanently(path)
    library = ctypes.CDLL(None)  # the scope that both torch and compiled code search
    library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_uint] * 2]
    library.GOMP_parallel.restype = None
    return library


@functools.cache
def _openmp_library() -> str | None:
    """Path of the OpenMP library that torch has loaded, if it is GNU's."""
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    found = sorted(set(re.findall(r"/.*libgomp\S*", mapped)))
    return next((path for path in found if "torch" in path), found[0] if found else None)
