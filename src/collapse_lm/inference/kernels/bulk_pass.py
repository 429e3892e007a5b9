"""A whole forward pass over many tokens without a cache, as each thread runs its part.

For evaluation and for a sliding context. Between the products all is float32; what a
product reads is rounded to bfloat16. The threads meet after each step whose results the
next one reads.

Shapes: N rows (tokens of all sequences), H heads, G key-value heads, d width of a head.
Scratch (qkv, mixed, active) and the hidden states (normed) are bfloat16.
"""

from typing import Any

from numba import carray

from collapse_lm.inference.kernels import arguments as at
from collapse_lm.inference.kernels.halves import narrow, widen
from collapse_lm.inference.kernels.many_rows import (
    ADD,
    GATED,
    GELU,
    STORE,
    attention,
    attention_scratch,
    linear,
    linear_scratch,
)
from collapse_lm.inference.kernels.pointers import floats_at, halves_at, integers_at
from collapse_lm.inference.kernels.rows import normalise
from collapse_lm.inference.kernels.team import meet, share
from collapse_lm.inference.kernels.tile import LANES, compiled


@compiled
def private_size(tokens: Any, width: Any, attended: Any, inner: Any, head_width: Any) -> Any:
    """Numbers of scratch that each thread of a pass needs."""
    product = linear_scratch(max(width, attended, inner))
    return max(product, attention_scratch(tokens, head_width), LANES + width)


@compiled
def run_part(a: Any, thread: Any, threads: Any) -> None:
    """Run one thread's part of a pass."""
    rows, width, inner = a[at.ROWS], a[at.WIDTH], a[at.INNER]
    heads, groups, d = a[at.HEADS], a[at.KV_HEADS], a[at.HEAD_WIDTH]
    x, normed, qkv, mixed, active = a[at.X], a[at.NORMED], a[at.QKV], a[at.MIXED], a[at.ACTIVE]
    own = a[at.PRIVATE] + 4 * thread * a[at.PRIVATE_SIZE]
    table = carray(integers_at(a[at.TABLE]), (a[at.LAYERS], 12))
    joined, activation = (heads + 2 * groups) * d, GATED if a[at.IS_GATED] else GELU
    team = (own, thread, threads)
    for layer in range(a[at.LAYERS]):
        part = table[layer]
        _normalise(a, part[0], part[1], *team)
        meet()
        linear(STORE, rows, width, joined, normed, part[2], part[3], qkv, *team)
        meet()
        if a[at.IS_GATED]:
            _rotate(a, *team)
            meet()
        attention(a[at.BATCH], a[at.NEW], heads, groups, d, qkv, mixed, *team)
        meet()
        linear(ADD, rows, heads * d, width, mixed, part[4], part[5], x, *team)
        meet()
        _normalise(a, part[6], part[7], *team)
        meet()
        linear(activation, rows, width, inner, normed, part[8], part[9], active, *team)
        meet()
        linear(ADD, rows, inner, width, active, part[10], part[11], x, *team)
        meet()
    _normalise(a, a[at.NORM_WEIGHT], a[at.NORM_BIAS], *team)


@compiled
def _normalise(a: Any, weight: Any, bias: Any, own: Any, thread: Any, threads: Any) -> None:
    """Normalise this thread's rows."""
    rows, width = a[at.ROWS], a[at.WIDTH]
    x = carray(floats_at(a[at.X]), (rows, width))
    out = carray(halves_at(a[at.NORMED]), (rows, width))
    scale, shift = _vector(weight, width), _vector(bias, width)
    eps = carray(floats_at(a[at.EPS]), (1,))[0]
    lanes = carray(floats_at(own), (LANES,))
    normed = carray(floats_at(own + 4 * LANES), (width,))
    first, last = share(rows, thread, threads)
    for n in range(first, last):
        normalise(x[n], scale, shift, eps, normed, lanes)
        for i in range(width):
            out[n, i] = narrow(normed[i])


@compiled
def _vector(address: Any, size: Any) -> Any:
    """A float32 vector at an address; an empty one at address 0."""
    return carray(floats_at(address), (size if address != 0 else 0,))


@compiled
def _rotate(a: Any, own: Any, thread: Any, threads: Any) -> None:
    """Rotate the queries and keys of this thread's rows to their positions."""
    rows, d = a[at.ROWS], a[at.HEAD_WIDTH]
    rotated, groups, half = a[at.HEADS] + a[at.KV_HEADS], a[at.KV_HEADS], d // 2
    qkv = carray(halves_at(a[at.QKV]), (rows, rotated + groups, d))
    cos = carray(floats_at(a[at.COS]), (rows, half))
    sin = carray(floats_at(a[at.SIN]), (rows, half))
    first, last = share(rows, thread, threads)
    for n in range(first, last):
        for h in range(rotated):
            low, high = qkv[n, h, :half], qkv[n, h, half:]
            for i in range(half):
                x, y = widen(low[i]), widen(high[i])
                low[i] = narrow(x * cos[n, i] - y * sin[n, i])
                high[i] = narrow(y * cos[n, i] + x * sin[n, i])
