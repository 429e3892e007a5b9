"""Keep freed memory in the process, so that the next update need not fault it in again.

An update allocates and frees hundreds of megabytes of activations and gradients. By
default glibc hands each large block back to the system at once, and the kernel clears
every page anew at the next use, which costs up to a third of an evaluation's time
(docs/performance.md). The peak is the same.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_* of glibc's malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask glibc's allocator to keep freed blocks; False on other systems, where nothing happens."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another libc
        return False
    return all(mallopt(option, _LARGEST) == 1 for option in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))
