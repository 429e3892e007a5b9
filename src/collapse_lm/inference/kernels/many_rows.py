"""Products, attention and losses of passes over many bfloat16 rows; sums in float32.

What follows a product (bias, activation, addition, the loss) is done to each tile of 8
rows by 48 outputs while it is in the processor's cache. With finite numbers the result
of a row depends on nothing beside it, and but for the last bits of its loss not on the
number of threads.

Shapes: N rows, K inputs, O outputs, S tokens of a sequence, d width of a head.
"""

from typing import Any

import numpy as np
from numba import carray

from collapse_lm.inference.kernels.dots import (
    PANEL,
    ROWS,
    dot_tile,
    gelu_tile,
    linear_tile,
    panel_exponentials,
    panel_largest,
    transpose,
)
from collapse_lm.inference.kernels.halves import narrow
from collapse_lm.inference.kernels.pointers import (
    doubles_at,
    floats_at,
    halves_at,
    integers_at,
    words_at,
)
from collapse_lm.inference.kernels.rows import exponential, gelu_of, largest_of, silu_of, sum_of
from collapse_lm.inference.kernels.team import share
from collapse_lm.inference.kernels.tile import LANES, compiled

STORE, ADD, GELU, GATED = range(4)  # what becomes of a product


@compiled
def repack(w: Any, stride: Any, half: Any, outputs: Any, panel: Any) -> None:
    """Lay up to 48 rows of weights, `stride` words apart, out as the tiles read them."""
    for o in range(0, outputs, LANES):
        last = min(outputs - o, LANES) - 1
        for k in range(0, half, LANES):
            transpose(w + 4 * (o * stride + k), stride, last, panel + 4 * (k * PANEL + o))


@compiled
def linear_scratch(inputs: Any) -> Any:
    """Numbers of scratch that a thread needs for a product."""
    return inputs * PANEL + (2 * ROWS + 1) * PANEL


@compiled
def linear(
    kind: Any,
    rows: Any,
    inputs: Any,
    outputs: Any,
    x: Any,
    w: Any,
    bias: Any,
    out: Any,
    scratch: Any,
    thread: Any,
    threads: Any,
) -> None:
    """One thread's part of a product of x (N, K) and what follows it.

    STORE writes x W^T + b and GELU its activation to out (N, O); ADD adds it to out,
    which is float32; GATED takes weights (2, O, K) and writes silu(gate) * up.
    """
    half = inputs // 2
    sums = scratch + 4 * 2 * PANEL * half
    shift = carray(floats_at(sums + 4 * 2 * ROWS * PANEL), (PANEL,))
    tiles = (rows + ROWS - 1) // ROWS
    first, last = share((outputs + PANEL - 1) // PANEL * tiles, thread, threads)
    while first < last:
        o, tile = first // tiles * PANEL, first % tiles
        end = min(tiles, tile + last - first)
        width = min(PANEL, outputs - o)
        repack(w + 4 * o * half, half, half, width, scratch)
        if kind == GATED:
            gate_panel = scratch + 4 * PANEL * half
            repack(w + 4 * (outputs + o) * half, half, half, width, gate_panel)
        shift[:] = 0
        if bias != 0:
            shift[:width] = carray(floats_at(bias), (outputs,))[o : o + width]
        for n in range(tile * ROWS, min(rows, end * ROWS), ROWS):
            here, source = min(ROWS, rows - n), x + 4 * n * half
            target = out + 2 * (n * outputs + o)
            if kind == STORE and width == PANEL:
                linear_tile(scratch, source, half, half, shift.ctypes.data, target, outputs, here)
            elif kind == GELU and width == PANEL:
                gelu_tile(scratch, source, half, half, shift.ctypes.data, target, outputs, here)
            else:
                dot_tile(scratch, source, half, half, sums, here)
                if kind == GATED:
                    up = sums + 4 * ROWS * PANEL
                    dot_tile(scratch + 4 * PANEL * half, source, half, half, up, here)
                _finish(kind, sums, shift, out, rows, outputs, n, here, o, width)
        first += end - tile


@compiled
def _finish(
    kind: Any,
    sums: Any,
    shift: Any,
    out: Any,
    rows: Any,
    outputs: Any,
    n: Any,
    here: Any,
    o: Any,
    width: Any,
) -> None:
    """Write or add a tile of sums."""
    totals = carray(floats_at(sums), (2, ROWS, PANEL))
    for r in range(here):
        row = totals[0, r, :width]
        if kind == ADD:
            x = carray(floats_at(out), (rows, outputs))[n + r, o : o + width]
            for j in range(width):
                x[j] += row[j] + shift[j]
        else:
            y = carray(halves_at(out), (rows, outputs))[n + r, o : o + width]
            if kind == GATED:
                up = totals[1, r, :width]
                for j in range(width):
                    y[j] = narrow(silu_of(row[j]) * up[j])
            elif kind == GELU:
                for j in range(width):
                    y[j] = narrow(gelu_of(row[j] + shift[j]))
            else:
                for j in range(width):
                    y[j] = narrow(row[j] + shift[j])


@compiled
def attention_scratch(tokens: Any, width: Any) -> Any:
    """Numbers of scratch that a thread needs for attention over sequences of S tokens."""
    sums = _attention_parts(0, tokens, width)[4]
    return sums // 4 + (ROWS + 1) * PANEL


@compiled
def _attention_parts(scratch: Any, tokens: Any, width: Any) -> Any:
    """Addresses of repacked keys and values, scores, bfloat16 weights, sums."""
    panels, pairs = (tokens + PANEL - 1) // PANEL, (tokens + 1) // 2
    value_panels = (width + PANEL - 1) // PANEL
    values = scratch + 2 * panels * PANEL * width
    scores = values + 4 * value_panels * PANEL * pairs
    weights = scores + 4 * panels * ROWS * PANEL
    return scratch, values, scores, weights, weights + 4 * ROWS * pairs


@compiled
def attention(
    batch: Any,
    tokens: Any,
    heads: Any,
    groups: Any,
    width: Any,
    qkv: Any,
    out: Any,
    scratch: Any,
    thread: Any,
    threads: Any,
) -> None:
    """One thread's part of causal attention of whole sequences, shared out by key-value head.

    Reads queries, keys and values (B, S, H + 2 G, d), writes (B, S, H d).
    """
    stride, share_of = (heads + 2 * groups) * width // 2, heads // groups
    first, last = share(batch * groups, thread, threads)
    for item in range(first, last):
        b, g = item // groups, item % groups
        start = qkv + 4 * b * tokens * stride
        key, value = heads + g, heads + groups + g
        _lay_out(start, key, value, stride, tokens, width, scratch)
        for h in range(g * share_of, (g + 1) * share_of):
            query, to = start + 2 * h * width, out + 2 * (b * tokens * heads + h) * width
            for n in range(0, tokens, ROWS):
                _attend(query, n, stride, tokens, width, to, heads * width, scratch)


@compiled
def _lay_out(
    start: Any, key: Any, value: Any, stride: Any, tokens: Any, width: Any, scratch: Any
) -> None:
    """Repack the keys and values of a sequence, those of the given heads."""
    keys, values, _, _, _ = _attention_parts(scratch, tokens, width)
    for s in range(0, tokens, PANEL):
        source = start + 4 * s * stride + 2 * key * width
        repack(source, stride, width // 2, min(PANEL, tokens - s), keys + 2 * s * width)
    for i in range(0, width, PANEL):
        source, panel = start + 2 * (value * width + i), values + 4 * i * ((tokens + 1) // 2)
        _pair_up(source, stride, tokens, min(PANEL, width - i), panel)


@compiled
def _attend(
    query: Any,
    n: Any,
    stride: Any,
    tokens: Any,
    width: Any,
    out: Any,
    out_stride: Any,
    scratch: Any,
) -> None:
    """Attend from 8 tokens of a sequence, the first of them n, to all before them."""
    keys, values, scores, weights, sums = _attention_parts(scratch, tokens, width)
    here, pairs = min(ROWS, tokens - n), (tokens + 1) // 2
    totals = carray(floats_at(sums + 4 * ROWS * PANEL), (ROWS,))
    for s in range(0, n + here, PANEL):
        source = query + 4 * n * stride
        dot_tile(keys + 2 * s * width, source, width // 2, stride, scores + 4 * s * ROWS, here)
    for r in range(here):
        totals[r] = _softmax(scores, r, n + r + 1, width, weights + 4 * r * pairs, pairs)
    for i in range(0, width, PANEL):
        dot_tile(values + 4 * i * pairs, weights, (n + here + 1) // 2, pairs, sums, here)
        size = min(PANEL, width - i)
        for r in range(here):
            row = carray(floats_at(sums + 4 * r * PANEL), (size,))
            y = carray(halves_at(out + 2 * ((n + r) * out_stride + i)), (size,))
            scale = np.float32(1) / totals[r]
            for j in range(size):
                y[j] = narrow(row[j] * scale)


@compiled
def _pair_up(value: Any, stride: Any, tokens: Any, size: Any, panel: Any) -> None:
    """Lay some columns of values out as weights whose inputs are the tokens."""
    for s in range(0, tokens, 2):
        low = carray(halves_at(value + 4 * s * stride), (size,))
        high = carray(halves_at(value + 4 * min(s + 1, tokens - 1) * stride), (size,))
        pair = carray(words_at(panel + 4 * (s // 2) * PANEL), (size,))
        if s + 1 < tokens:
            for j in range(size):
                pair[j] = np.uint32(low[j]) | (np.uint32(high[j]) << np.uint32(16))
        else:
            for j in range(size):
                pair[j] = np.uint32(low[j])


@compiled
def _softmax(scores: Any, r: Any, seen: Any, width: Any, weights: Any, pairs: Any) -> Any:
    """Write bfloat16 exp(score - largest), at most 1 each, of a row; return their sum.

    Tokens that the row does not see get weight 0.
    """
    scale = np.float32(1) / np.sqrt(np.float32(width))
    panels = (seen + PANEL - 1) // PANEL
    rows = carray(floats_at(scores), (panels, ROWS, PANEL))
    y = carray(halves_at(weights), (2 * pairs,))
    largest = rows[0, r, 0]
    for p in range(panels):
        largest = max(largest, largest_of(rows[p, r, : min(PANEL, seen - p * PANEL)]))
    total = np.float32(0)
    for p in range(panels):
        row, size = rows[p, r], min(PANEL, seen - p * PANEL)
        for j in range(size):
            row[j] = exponential((row[j] - largest) * scale)
        total += sum_of(row[:size])
        to = y[p * PANEL : p * PANEL + size]
        for j in range(size):
            to[j] = narrow(row[j])
    y[seen : min(2 * pairs, seen + ROWS)] = 0
    return total


@compiled
def loss(
    rows: Any,
    inputs: Any,
    outputs: Any,
    x: Any,
    w: Any,
    targets: Any,
    sums: Any,
    scratch: Any,
    thread: Any,
    threads: Any,
) -> None:
    """Take this thread's logits x W^T into running sums of exponentials.

    Targets are (N,) int64. Sums are (threads, 3, N) float64: of each row the largest
    logit, the sum of exp(logit - largest), and the logit of the target, where this
    thread comes across it.
    """
    half = inputs // 2
    found = carray(doubles_at(sums), (threads, 3, rows))[thread]
    target = carray(integers_at(targets), (rows,))
    tile_at = scratch + 4 * PANEL * half
    logits = carray(floats_at(tile_at), (ROWS, PANEL))
    first, last = share((outputs + PANEL - 1) // PANEL, thread, threads)
    for o in range(first * PANEL, min(outputs, last * PANEL), PANEL):
        width = min(PANEL, outputs - o)
        repack(w + 4 * o * half, half, half, width, scratch)
        for n in range(0, rows, ROWS):
            here = min(ROWS, rows - n)
            dot_tile(scratch, x + 4 * n * half, half, half, tile_at, here)
            for r in range(n, n + here):
                row = tile_at + 4 * (r - n) * PANEL
                if o <= target[r] < o + width:
                    found[2, r] = logits[r - n, target[r] - o]
                logits[r - n, width:] = -np.inf
                top = max(np.float32(found[0, r]), panel_largest(row))
                if top != found[0, r]:
                    found[1, r] *= np.exp(found[0, r] - top)
                    found[0, r] = top
                found[1, r] += panel_exponentials(row, top)
