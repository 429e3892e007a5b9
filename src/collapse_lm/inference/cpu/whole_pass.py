"""A whole forward pass over a few new tokens, as each thread of a team runs its part.

The threads meet after each step whose results the next one reads. What is cheap (the
norms) every thread does for itself, since that takes less time than a meeting.

Shapes: N rows (new tokens of all sequences), B sequences, H heads, G key-value heads,
d width of a head. "Split" rows: see `tile`.
"""

from collections import namedtuple
from typing import Any

from numba import carray

from collapse_lm.inference.cpu import arguments as at
from collapse_lm.inference.cpu.pointers import floats_at, integers_at
from collapse_lm.inference.cpu.requirements import LANES
from collapse_lm.inference.cpu.rows import attend, gated, gelu, normalise, split
from collapse_lm.inference.cpu.team import meet, share
from collapse_lm.inference.cpu.tile import compiled, product

_Views = namedtuple(
    "_Views",
    "x qkv qkv_flat mixed active sequence position cos sin keys values table "
    "eps lanes scores head normed mine sums",
)


def private_size(rows: int, width: int, inner: int, head_width: int, capacity: int) -> int:
    """Numbers of scratch that each thread of a pass needs; see `_views`."""
    return LANES + capacity + head_width + width + rows * width + rows * 2 * inner


@compiled
def run_part(a: Any, thread: Any, threads: Any) -> None:
    """Run one thread's part of a pass."""
    v = _views(a, thread)
    for layer in range(a[at.LAYERS]):
        part = v.table[layer]
        _project(a, v, part[0], part[1], part[2], part[3], thread, threads)
        meet()
        _store(a, v, layer, thread, threads)
        meet()
        _mix(a, v, layer, thread, threads)
        meet()
        _add(a, v, part[4], part[5], a[at.MIXED], v.mixed.shape[1], thread, threads)
        meet()
        _expand(a, v, part[6], part[7], part[8], part[9], thread, threads)
        meet()
        _add(a, v, part[10], part[11], a[at.ACTIVE], v.active.shape[1], thread, threads)
        meet()
    first, last = share(a[at.ROWS], thread, threads)
    weight, bias = _vector(a[at.NORM_WEIGHT], a[at.WIDTH]), _vector(a[at.NORM_BIAS], a[at.WIDTH])
    for n in range(first, last):
        normalise(v.x[n], weight, bias, v.eps[0], v.normed, v.lanes)
        v.x[n, :] = v.normed


@compiled
def _views(a: Any, thread: Any) -> Any:
    """Make arrays of the addresses; the last ones are this thread's own."""
    rows, width, inner, d = a[at.ROWS], a[at.WIDTH], a[at.INNER], a[at.HEAD_WIDTH]
    heads, groups, layers = a[at.HEADS], a[at.KV_HEADS], a[at.LAYERS]
    capacity, batch = a[at.CAPACITY], a[at.BATCH]
    lanes = a[at.PRIVATE] + 4 * thread * a[at.PRIVATE_SIZE]
    scores = lanes + 4 * LANES
    head = scores + 4 * capacity
    normed = head + 4 * d
    mine = normed + 4 * width
    sums = mine + 4 * rows * width
    return _Views(
        carray(floats_at(a[at.X]), (rows, width)),
        carray(floats_at(a[at.QKV]), (rows, heads + 2 * groups, d)),
        carray(floats_at(a[at.QKV]), (rows, (heads + 2 * groups) * d)),
        carray(floats_at(a[at.MIXED]), (rows, heads * d)),
        carray(floats_at(a[at.ACTIVE]), (rows, inner)),
        carray(integers_at(a[at.SEQUENCE]), (rows,)),
        carray(integers_at(a[at.POSITION]), (rows,)),
        carray(floats_at(a[at.COS]), (rows, d // 2)),
        carray(floats_at(a[at.SIN]), (rows, d // 2)),
        carray(floats_at(a[at.KEYS]), (layers, batch, groups, d, capacity)),
        carray(floats_at(a[at.VALUES]), (layers, batch, groups, capacity, d)),
        carray(integers_at(a[at.TABLE]), (layers, 12)),
        carray(floats_at(a[at.EPS]), (1,)),
        carray(floats_at(lanes), (LANES,)),
        carray(floats_at(scores), (capacity,)),
        carray(floats_at(head), (d,)),
        carray(floats_at(normed), (width,)),
        carray(floats_at(mine), (rows, width)),
        carray(floats_at(sums), (rows, 2, inner)),
    )


@compiled
def _vector(address: Any, size: Any) -> Any:
    """A float32 vector at an address; an empty one at address 0."""
    return carray(floats_at(address), (size if address != 0 else 0,))


@compiled
def _norm_rows(v: Any, weight: Any, bias: Any) -> None:
    """Normalise all rows into this thread's own split copy."""
    width = v.normed.shape[0]
    for n in range(v.x.shape[0]):
        normalise(v.x[n], _vector(weight, width), _vector(bias, width), v.eps[0], v.normed, v.lanes)
        split(v.normed, v.mine[n])


@compiled
def _project(
    a: Any, v: Any, norm: Any, shift: Any, weight: Any, bias: Any, thread: Any, threads: Any
) -> None:
    """Queries, keys and values of the normalised rows."""
    _norm_rows(v, norm, shift)
    rows, joined = v.qkv_flat.shape
    first, last = share(joined, thread, threads)
    x, size = v.mine.ctypes.data, a[at.WEIGHT_BYTES]
    product(weight, size, x, a[at.WIDTH], rows, first, last, a[at.QKV], joined)
    _add_bias(v.qkv_flat, bias, first, last)


@compiled
def _store(a: Any, v: Any, layer: Any, thread: Any, threads: Any) -> None:
    """Write the new keys and values to the cache."""
    keys, values = v.keys[layer], v.values[layer]
    groups = a[at.KV_HEADS]
    first, last = share(a[at.ROWS] * groups, thread, threads)
    for item in range(first, last):
        n, g = item // groups, item % groups
        b, position = v.sequence[n], v.position[n]
        key, value = v.qkv[n, a[at.HEADS] + g], v.qkv[n, a[at.HEADS] + groups + g]
        if a[at.IS_GATED]:
            _rotate(key, v.cos[n], v.sin[n])
        for i in range(a[at.HEAD_WIDTH]):
            keys[b, g, i, position] = key[i]
            values[b, g, position, i] = value[i]


@compiled
def _rotate(vector: Any, cos: Any, sin: Any) -> None:
    """Rotate the first half of a head's vector against its second."""
    half = cos.shape[0]
    for i in range(half):
        low, high = vector[i], vector[half + i]
        vector[i] = low * cos[i] - high * sin[i]
        vector[half + i] = high * cos[i] + low * sin[i]


@compiled
def _mix(a: Any, v: Any, layer: Any, thread: Any, threads: Any) -> None:
    """Attend with every head of every row."""
    keys, values = v.keys[layer], v.values[layer]
    heads, d, half = a[at.HEADS], a[at.HEAD_WIDTH], v.mixed.shape[1] // 2
    first, last = share(a[at.ROWS] * heads, thread, threads)
    for item in range(first, last):
        n, h = item // heads, item % heads
        b, g = v.sequence[n], h // (heads // a[at.KV_HEADS])
        if a[at.IS_GATED]:
            _rotate(v.qkv[n, h], v.cos[n], v.sin[n])
        attend(v.qkv[n, h], keys[b, g], values[b, g], v.position[n] + 1, v.scores, v.head)
        start = h * d // 2
        for i in range(d // 2):
            v.mixed[n, start + i] = v.head[2 * i]
            v.mixed[n, half + start + i] = v.head[2 * i + 1]


@compiled
def _expand(
    a: Any, v: Any, norm: Any, shift: Any, weight: Any, bias: Any, thread: Any, threads: Any
) -> None:
    """The first product of the MLP and its activation."""
    _norm_rows(v, norm, shift)
    rows, inner = v.active.shape
    first, last = share(inner // 2, thread, threads)
    first, last = 2 * first, 2 * last
    x, sums, stride = v.mine.ctypes.data, v.sums.ctypes.data, 2 * inner
    size = a[at.WEIGHT_BYTES]
    product(weight, size, x, a[at.WIDTH], rows, first, last, sums, stride)
    if a[at.IS_GATED]:
        up = weight + size * inner * a[at.WIDTH]
        product(up, size, x, a[at.WIDTH], rows, first, last, sums + 4 * inner, stride)
    for n in range(rows):
        row = v.sums[n, 0, first:last]
        if a[at.IS_GATED]:
            gated(row, v.sums[n, 1, first:last], row)
        else:
            gelu(row, _vector(bias, inner)[first:last], row)
        for i in range((last - first) // 2):
            v.active[n, first // 2 + i] = row[2 * i]
            v.active[n, (inner + first) // 2 + i] = row[2 * i + 1]


@compiled
def _add(
    a: Any, v: Any, weight: Any, bias: Any, source: Any, inputs: Any, thread: Any, threads: Any
) -> None:
    """Add a product and its bias to this thread's columns of the residual stream."""
    rows, width = v.x.shape
    first, last = share(width, thread, threads)
    stride = v.sums.shape[1] * v.sums.shape[2]
    sums = v.sums.ctypes.data
    product(weight, a[at.WEIGHT_BYTES], source, inputs, rows, first, last, sums, stride)
    for n in range(rows):
        for o in range(first, last):
            v.x[n, o] += v.sums[n, 0, o]
    _add_bias(v.x, bias, first, last)


@compiled
def _add_bias(rows: Any, bias: Any, first: Any, last: Any) -> None:
    """Add a bias, where there is one, to some columns of all rows."""
    if bias != 0:
        added = _vector(bias, rows.shape[1])
        for n in range(rows.shape[0]):
            for o in range(first, last):
                rows[n, o] += added[o]
