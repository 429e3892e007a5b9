"""Machine code for decoding on a CPU: bfloat16 weights, float32 everything else.

A decode step reads every weight once for a handful of rows, so it can be as fast as
memory delivers the weights. Libraries made for large products stay far from that at
this size; these kernels are compiled for the machine they run on (numba) and do a
whole pass in one call, on the threads that torch already has (its OpenMP library).

A row's result does not depend on the rows beside it: every sum runs in one fixed
order. So a token that was checked as a proposal is bit for bit the token that plain
decoding picks.

Shapes: N rows, K inputs, O outputs.
"""

import ctypes
import functools
import re
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import torch
from numba import carray, cfunc, types
from numpy.typing import NDArray
from torch import Tensor

from collapse_lm.inference.kernels import whole_pass
from collapse_lm.inference.kernels.tile import LANES, MULTIPLE, compiled, product
from collapse_lm.inference.kernels.whole_pass import run_part, share

__all__ = ["LANES", "MULTIPLE", "available", "matrix_product", "run_pass", "takes", "whole_pass"]

_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


def available() -> bool:
    """True where torch runs its threads by GNU's OpenMP, which the kernels share (Linux)."""
    return _openmp_library() is not None


def takes(weight_OK: Tensor) -> bool:
    """True for weights that `matrix_product` can read."""
    is_here = weight_OK.device.type == "cpu" and weight_OK.dtype == torch.bfloat16
    fits = weight_OK.is_contiguous() and weight_OK.shape[1] % MULTIPLE == 0
    return is_here and fits and available()


def run_pass(arguments: NDArray[np.int64]) -> None:
    """Run a whole pass; the arguments are listed in `whole_pass`."""
    _run(_regions()[0], arguments)


def matrix_product(x_NK: Tensor, weight_OK: Tensor) -> Tensor:
    """Return x W^T (N, O) in float32."""
    rows, inputs = x_NK.shape
    split_N2K = x_NK.float().view(rows, inputs // 2, 2).transpose(1, 2).contiguous()
    out_NO = torch.empty(rows, len(weight_OK))
    addresses = (split_N2K.data_ptr(), weight_OK.data_ptr(), out_NO.data_ptr())
    _run(_regions()[1], np.array([rows, inputs, len(weight_OK), *addresses], dtype=np.int64))
    return out_NO


def _run(region: Any, arguments: NDArray[np.int64]) -> None:
    """Have every thread of torch's team run a region."""
    parallel = _openmp().GOMP_parallel
    parallel(region.address, arguments.ctypes.data, torch.get_num_threads(), 0)


@functools.cache
def _regions() -> tuple[Any, Any]:
    """Compile what every thread runs of a pass, and of a product."""
    _openmp()
    signature = types.void(types.CPointer(types.int64))

    @cfunc(signature, cache=True)
    def pass_region(arguments: Any) -> None:
        a = carray(arguments, (whole_pass.ARGUMENTS,))
        run_part(a, np.int64(_thread()), np.int64(_threads()))

    @cfunc(signature, cache=True)
    def product_region(arguments: Any) -> None:
        _product_part(carray(arguments, (6,)), np.int64(_thread()), np.int64(_threads()))

    return pass_region, product_region


@compiled
def _product_part(a: Any, thread: Any, threads: Any) -> None:
    """One thread's part of a product: rows, inputs, outputs, x, weights, out."""
    first, last = share(a[2], thread, threads)
    product(a[4], a[3], a[1], a[0], first, last, a[5], a[2])


@functools.cache
def _openmp() -> ctypes.CDLL:
    """Open torch's OpenMP library, and let compiled code find its functions by name."""
    path = _openmp_library()
    assert path is not None
    llvmlite.binding.load_library_permanently(path)
    library = ctypes.CDLL(path)
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
    found = sorted(set(re.findall(r"/\S*libgomp\S*", mapped)))
    return next((path for path in found if "torch" in path), found[0] if found else None)
