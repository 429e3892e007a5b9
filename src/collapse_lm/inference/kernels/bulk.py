"""Passes over many bfloat16 rows between the large products of an evaluation.

torch makes several passes over memory of each of these; here it is one, in float32
from the first load to the last rounding. For processors whose products of this size are
torch's (see `dots`), and heads of unusual width; else a pass is one call (`bulk_pass`).

Shapes: N rows, D width, F width of the MLP, V columns of a block of logits.
"""

from typing import Any

import numpy as np
from numba import carray

from collapse_lm.inference.kernels.halves import narrow, widen
from collapse_lm.inference.kernels.pointers import doubles_at, floats_at, halves_at, integers_at
from collapse_lm.inference.kernels.rows import exponential, gelu_of, mean, silu_of, sum_of
from collapse_lm.inference.kernels.team import share
from collapse_lm.inference.kernels.tile import LANES, compiled


@compiled
def gelu_part(a: Any, thread: Any, threads: Any) -> None:
    """GELU in place. Arguments: numbers, x."""
    first, last = share(a[0], thread, threads)
    x = carray(halves_at(a[1]), (a[0],))[first:last]
    for i in range(x.shape[0]):
        x[i] = narrow(gelu_of(widen(x[i])))


@compiled
def gated_part(a: Any, thread: Any, threads: Any) -> None:
    """silu(gate) * up. Arguments: N, F, gate and up (N, 2, F), out (N, F)."""
    rows, inner = a[0], a[1]
    first, last = share(rows, thread, threads)
    both = carray(halves_at(a[2]), (rows, 2, inner))
    out = carray(halves_at(a[3]), (rows, inner))
    for n in range(first, last):
        for i in range(inner):
            out[n, i] = narrow(silu_of(widen(both[n, 0, i])) * widen(both[n, 1, i]))


@compiled
def rms_norm_part(a: Any, thread: Any, threads: Any) -> None:
    """RMSNorm. Arguments: N, D, x, weight and eps (float32), out, scratch (threads, D + 16)."""
    rows, width = a[0], a[1]
    first, last = share(rows, thread, threads)
    x, out = carray(halves_at(a[2]), (rows, width)), carray(halves_at(a[5]), (rows, width))
    weight, eps = carray(floats_at(a[3]), (width,)), carray(floats_at(a[4]), (1,))[0]
    scratch = carray(floats_at(a[6] + 4 * thread * (width + LANES)), (width + LANES,))
    row, lanes = scratch[:width], scratch[width:]
    for n in range(first, last):
        for i in range(width):
            row[i] = widen(x[n, i])
        scale = np.float32(1) / np.sqrt(mean(row, lanes, np.float32(0), True) + eps)
        for i in range(width):
            out[n, i] = narrow(row[i] * scale * weight[i])


@compiled
def block_nll_part(a: Any, thread: Any, threads: Any) -> None:
    """Take a block of logits into running sums of exponentials.

    Arguments: N, V, id of the block's first column, logits (N, V), targets (N,) int64,
    and per row, in and out: largest logit, sum of exp(logit - largest), logit of the
    target, each float64; scratch (threads, V) float32.
    """
    rows, columns, start = a[0], a[1], a[2]
    first, last = share(rows, thread, threads)
    logits = carray(halves_at(a[3]), (rows, columns))
    targets = carray(integers_at(a[4]), (rows,))
    largest, sums = carray(doubles_at(a[5]), (rows,)), carray(doubles_at(a[6]), (rows,))
    wanted = carray(doubles_at(a[7]), (rows,))
    row = carray(floats_at(a[8] + 4 * thread * columns), (columns,))
    for n in range(first, last):
        halves = logits[n]
        top = max(np.float32(largest[n]), widen(_largest(halves)))
        for i in range(columns):
            row[i] = exponential(widen(halves[i]) - top)
        sums[n] = sums[n] * np.exp(largest[n] - top) + sum_of(row)
        largest[n] = top
        if start <= targets[n] < start + columns:
            wanted[n] = widen(halves[targets[n] - start])


@compiled
def _largest(halves: Any) -> Any:
    """Largest of a row of bfloat16 bits, as integers that are in the same order.

    The bits of negative numbers count down, so all but their sign are turned over. (A
    maximum of floating-point numbers would not be compiled to vector code.)
    """
    top = np.int16(-32768)
    for i in range(halves.shape[0]):
        bits = np.int16(halves[i])
        top = max(top, np.int16(bits ^ ((bits >> 15) & 0x7FFF)))
    return np.uint16(top ^ ((top >> 15) & 0x7FFF))
