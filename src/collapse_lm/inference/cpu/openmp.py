"""Find the OpenMP library whose threads are torch's.

A process may hold several: scikit-learn and others bring one of their own, whose threads
would fight torch's for the processors. So neither a name nor a place decides, but
torch itself: its library is the one whose number of threads torch reports.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Iterator, Mapping

import torch

_NAMES = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")
_COUNTS = ("omp_get_max_threads", "omp_set_num_threads")


@functools.cache
def functions() -> Mapping[str, int] | None:
    """Addresses of GNU's names in torch's OpenMP library; None where it has no such names.

    It has none on macOS and Windows, or where torch has threads of its own.
    """
    for library in _libraries() if sys.platform == "linux" else ():
        if all(hasattr(library, name) for name in (*_NAMES, *_COUNTS)) and _is_torchs(library):
            return {name: _address(library, name) for name in _NAMES}
    return None


def _libraries() -> Iterator[ctypes.CDLL]:
    """Where the linker looks for what torch calls: all that is shared, then its own needs."""
    yield ctypes.CDLL(None)
    yield ctypes.CDLL(torch._C.__file__, mode=os.RTLD_LAZY | os.RTLD_NOLOAD)


def _is_torchs(library: ctypes.CDLL) -> bool:
    """Try whether torch reports what this library is told; only this thread is told."""
    before, torchs = library.omp_get_max_threads(), torch.get_num_threads()
    library.omp_set_num_threads(torchs + 1)
    try:
        return torch.get_num_threads() == torchs + 1
    finally:
        library.omp_set_num_threads(before)


def _address(library: ctypes.CDLL, name: str) -> int:
    address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    assert address is not None
    return address
