"""What the machine code needs: sizes and number formats, torch's threads, numba.

Asked before numba is imported; numba itself is tried only where all else is there.

Shapes: K inputs, O outputs.
"""

import functools
import logging

import torch
from torch import Tensor

from collapse_lm.inference.architectures import Architecture
from collapse_lm.inference.cpu import openmp
from collapse_lm.inference.cpu.layout import AVX512, Layout, layout_for

LANES = 16  # float32 numbers that rows and caches are padded to: a vector of the widest
_SMALLEST = 100_000  # parameters of a model whose float32 passes are compiled
MULTIPLE = 2 * LANES  # what the number of inputs of a product must be a multiple of

_LOG = logging.getLogger(__name__)


def can_run(architecture: Architecture) -> bool:
    """True where whole passes of a model run as machine code.

    Its copy is bfloat16 and its master float32, both on the CPU; its widths fill vectors.
    """
    return architecture.example.dtype == torch.bfloat16 and could_run(architecture)


def can_run_in_float32(architecture: Architecture, parameters: int) -> bool:
    """True where whole passes run as machine code on a float32 copy, and pay off.

    For a model of a few thousand weights the code would take longer to load than it saves.
    """
    is_float32 = architecture.example.dtype == torch.float32
    return is_float32 and parameters >= _SMALLEST and could_run(architecture)


def could_run(architecture: Architecture) -> bool:
    """True where whole passes of a model would run as machine code on a copy of its weights."""
    part, master = architecture.blocks[0], architecture.norm_f.masters[0]
    inputs = [part.qkv.inputs, part.out.inputs, part.down.inputs]
    has_sizes = not any(n % MULTIPLE for n in inputs)
    has_shape = architecture.head_width % 2 == 0 and 2 * part.down.inputs >= part.qkv.inputs
    is_here = master.device.type == "cpu" and master.dtype == torch.float32
    return is_here and has_sizes and has_shape and can_compile()


def can_multiply(weight_OK: Tensor) -> bool:
    """True where products of a bfloat16 copy of these weights run as machine code."""
    fits = weight_OK.is_contiguous() and weight_OK.shape[1] % MULTIPLE == 0
    return weight_OK.device.type == "cpu" and fits and can_compile()


def can_compile() -> bool:
    """True with AVX2 or more, torch's threads, and numba."""
    return openmp.functions() is not None and _has_numba() and bool(layout_for(_features()))


def layout_here() -> Layout:
    """The layout of the innermost product on this processor (any, where it would not run)."""
    return layout_for(_features()) or AVX512


@functools.cache
def _features() -> frozenset[str]:
    """The features that code is compiled for: this processor's, or those numba is told."""
    import llvmlite.binding
    from numba import config

    if config.CPU_FEATURES is not None:
        told = config.CPU_FEATURES.split(",")
        return frozenset(name[1:] for name in told if name.startswith("+"))
    found = llvmlite.binding.get_host_cpu_features()
    return frozenset(name for name, is_there in found.items() if is_there)


@functools.cache
def _has_numba() -> bool:
    """Import numba; where that fails, say once what it would bring."""
    try:
        import llvmlite.binding  # noqa: F401
        import numba  # noqa: F401
    except ImportError as error:
        _LOG.warning(
            "decoding runs on torch's operations, which are slower, as numba is missing "
            "(%s); install it by: pip install numba",
            error,
        )
        return False
    return True
