"""The threads that run a kernel: those that torch already has.

torch's threads belong to its OpenMP library. Asking the same library to start a
kernel uses the same threads; a second set would fight them for the processors.
"""

import ctypes
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
import numpy as np
import torch
from numba import carray, cfunc, types

from collapse_lm.inference.cpu import openmp
from collapse_lm.inference.cpu.tile import compiled

_PREFIX = "collapse_lm_"  # compiled code knows torch's functions by names that nobody else has

meet = types.ExternalFunction(f"{_PREFIX}GOMP_barrier", types.void())
"""Wait until every thread of the team has come here."""

_thread = types.ExternalFunction(f"{_PREFIX}omp_get_thread_num", types.int32())
_threads = types.ExternalFunction(f"{_PREFIX}omp_get_num_threads", types.int32())


@compiled
def share(total: Any, thread: Any, threads: Any) -> Any:
    """Return where a thread's part of a range begins and ends."""
    return total * thread // threads, total * (thread + 1) // threads


def run(part: Callable[[Any, Any, Any], None], arguments: Sequence[int]) -> None:
    """Run part(arguments, thread, threads) on every thread of torch's team."""
    region = prepare(part, len(arguments))
    packed = np.array(arguments, dtype=np.int64)
    _start()(region, packed.ctypes.data, torch.get_num_threads(), 0)


def prepare(part: Callable[[Any, Any, Any], None], count: int) -> int:
    """Compile a part that takes so many arguments, once; return the address of its code."""
    with _COMPILING:
        return _region(part, count)


@functools.cache
def _region(part: Any, count: int) -> int:
    """Compile what every thread runs; return its address."""
    _start()

    @cfunc(types.void(types.CPointer(types.int64)))
    def region(arguments: Any) -> None:
        part(carray(arguments, (count,)), np.int64(_thread()), np.int64(_threads()))

    _KEPT.append(region)
    address: int = region.address
    return address


_COMPILING = threading.Lock()
_KEPT: list[Any] = []  # compiled code lives as long as the object that holds it


@functools.cache
def _start() -> Callable[[int, int, int, int], None]:
    """Return what starts torch's team, and let compiled code find the other functions."""
    functions = openmp.functions()
    assert functions is not None
    for name, address in functions.items():
        llvmlite.binding.add_symbol(f"{_PREFIX}{name}", address)
    kinds = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return ctypes.CFUNCTYPE(None, *kinds)(functions["GOMP_parallel"])
