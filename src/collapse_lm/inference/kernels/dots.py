"""Products of many bfloat16 rows, by the processor's dot product of bfloat16 pairs.

One instruction (AVX512-BF16's VDPBF16PS) adds 32 products to 16 float32 sums. A panel
of weights is repacked so that one vector holds a pair of inputs of each of 16 outputs;
then 8 rows by 48 outputs of sums stay in registers while the inputs go by. torch's
product of these sizes reaches about four fifths of what the processor can do, and this
one nearly all of it (docs/performance.md).

A sum runs in one fixed order, so a row's result does not depend on the rows beside it
nor on the threads.

Shapes: N rows, K inputs, O outputs.
"""

import functools
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from collapse_lm.inference.kernels.tile import LANES

VECTORS = 3
PANEL = VECTORS * LANES  # outputs of one tile
ROWS = 8  # rows of one tile

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_I32, LANES), ir.VectorType(_F32, LANES)


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_PAIRS = ir.VectorType(_BFloat(), 2 * LANES)


@functools.cache
def is_available() -> bool:
    """True where the processor has the instruction, and no unit for whole matrices (AMX).

    With such a unit torch's product is faster than any of vectors.
    """
    features = llvmlite.binding.get_host_cpu_features()
    return bool(features.get("avx512bf16")) and not features.get("amx-bf16")


@intrinsic
def transpose(typing: Any, w: Any, stride: Any, last: Any, out: Any) -> Any:
    """Bring a pair of inputs of each of 16 outputs together, for 16 pairs.

    Writes the 32-bit word out[pair * PANEL + output] = w[output * stride + pair]. Outputs
    past the last one, of which there is no memory to read, repeat it.
    """
    signature = types.void(*[types.intp] * 4)

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        w, stride, last, out = arguments
        w, out = (b.inttoptr(address, _I32.as_pointer()) for address in (w, out))
        rows = []
        for output in range(LANES):
            is_past = b.icmp_signed(">", _I64(output), last)
            index = b.select(is_past, last, _I64(output))
            rows.append(_load(b, b.gep(w, [b.mul(index, stride)]), _INTS))
        for width in (1, 2, 4, 8):  # swap the blocks beside the diagonal, ever larger ones
            for low in (i for i in range(LANES) if not i & width):
                rows[low], rows[low + width] = _swap(b, rows[low], rows[low + width], width)
        for pair, row in enumerate(rows):
            _store(b, row, b.gep(out, [_I64(pair * PANEL)]))
        return context.get_dummy_value()

    return signature, generate


def _swap(b: ir.IRBuilder, low: Any, high: Any, width: int) -> tuple[Any, Any]:
    """Exchange the upper block of every pair of blocks of `low` with the lower of `high`."""
    lanes = range(LANES)
    kept = [lane if not lane & width else LANES + lane - width for lane in lanes]
    moved = [lane + width if not lane & width else LANES + lane for lane in lanes]
    return tuple(  # type: ignore[return-value]
        b.shuffle_vector(low, high, ir.VectorType(_I32, LANES)([_I32(i) for i in indices]))
        for indices in (kept, moved)
    )


Finish = Callable[[ir.IRBuilder, int, Any], None]  # what becomes of a row's sums


@intrinsic
def dot_tile(typing: Any, panel: Any, x: Any, half: Any, stride: Any, out: Any, rows: Any) -> Any:
    """Write the sums over 2 * half inputs to out[row * PANEL + output], in float32.

    Up to 8 rows of x, `stride` 32-bit words apart, by a panel of repacked weights.
    """

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        *read, out, rows = arguments
        out = b.inttoptr(out, _F32.as_pointer())

        def finish(b: ir.IRBuilder, row: int, sums: Sequence[Any]) -> None:
            for v, total in enumerate(sums):
                _store(b, total, b.gep(out, [_I64(row * PANEL + v * LANES)]))

        _emit_tiles(b, read, rows, finish)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


@intrinsic
def linear_tile(
    typing: Any,
    panel: Any,
    x: Any,
    half: Any,
    stride: Any,
    bias: Any,
    out: Any,
    out_stride: Any,
    rows: Any,
) -> Any:
    """The same plus a bias, rounded to bfloat16, to out[row * out_stride + output]."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        *read, bias, out, out_stride, rows = arguments
        bias = b.inttoptr(bias, _F32.as_pointer())
        out = b.inttoptr(out, ir.IntType(16).as_pointer())

        def finish(b: ir.IRBuilder, row: int, sums: Sequence[Any]) -> None:
            start = b.mul(out_stride, _I64(row))
            for v, total in enumerate(sums):
                added = b.fadd(total, _load(b, b.gep(bias, [_I64(v * LANES)]), _FLOATS))
                _store(b, _narrow(b, added), b.gep(out, [b.add(start, _I64(v * LANES))]))

        _emit_tiles(b, read, rows, finish)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), generate


def _emit_tiles(b: ir.IRBuilder, read: Sequence[Any], rows: Any, finish: Finish) -> None:
    """Write a tile of each number of rows, and the choice between them."""
    panel, x, half, stride = read
    panel, x = (b.inttoptr(address, _I32.as_pointer()) for address in (panel, x))
    blocks = [b.append_basic_block(f"rows{size}") for size in range(1, ROWS + 1)]
    end = b.append_basic_block("end")
    switch = b.switch(rows, blocks[-1])
    for size, block in enumerate(blocks, start=1):
        switch.add_case(_I64(size), block)
        b.position_at_end(block)
        for row, sums in enumerate(_emit_sums(b, size, panel, x, half, stride)):
            finish(b, row, sums)
        b.branch(end)
    b.position_at_end(end)


def _emit_sums(
    b: ir.IRBuilder, rows: int, panel: Any, x: Any, half: Any, stride: Any
) -> list[list[Any]]:
    """Write the loop over the inputs; return each row's vectors of sums."""
    before = b.block
    loop, after = b.append_basic_block("pairs"), b.append_basic_block("sums")
    starts = [b.mul(stride, _I64(row)) for row in range(rows)]
    b.branch(loop)

    b.position_at_end(loop)
    k = b.phi(_I64)
    k.add_incoming(_I64(0), before)
    sums = [[b.phi(_FLOATS) for _ in range(VECTORS)] for _ in range(rows)]
    place = b.gep(panel, [b.mul(k, _I64(PANEL))])
    weights = [_load(b, b.gep(place, [_I64(v * LANES)]), _INTS) for v in range(VECTORS)]
    totals = []
    for row, start in enumerate(starts):
        pair = _broadcast(b, b.load(b.gep(x, [b.add(start, k)])))
        totals.append([_dot(b, *each) for each in zip(sums[row], [pair] * VECTORS, weights)])
    for sum_, total in zip(chain(*sums), chain(*totals), strict=True):
        sum_.add_incoming(_FLOATS([0.0] * LANES), before)
        sum_.add_incoming(total, loop)
    following = b.add(k, _I64(1))
    k.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, half), loop, after)

    b.position_at_end(after)
    return totals


def _load(b: ir.IRBuilder, pointer: Any, kind: ir.VectorType) -> Any:
    value = b.load(b.bitcast(pointer, kind.as_pointer()))
    value.align = 4
    return value


def _store(b: ir.IRBuilder, value: Any, pointer: Any) -> None:
    b.store(value, b.bitcast(pointer, value.type.as_pointer())).align = 4


def _broadcast(b: ir.IRBuilder, word: Any) -> Any:
    empty = ir.Constant(_INTS, ir.Undefined)
    return b.shuffle_vector(b.insert_element(empty, word, _I32(0)), empty, _INTS([_I32(0)] * LANES))


def _dot(b: ir.IRBuilder, total: Any, x: Any, w: Any) -> Any:
    """Add x[2 i] * w[2 i] + x[2 i + 1] * w[2 i + 1] to each sum i."""
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    kind = ir.FunctionType(_FLOATS, [_FLOATS, _PAIRS, _PAIRS])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    return b.call(function, [total, b.bitcast(x, _PAIRS), b.bitcast(w, _PAIRS)])


def _narrow(b: ir.IRBuilder, numbers: Any) -> Any:
    """Return the nearest bfloat16 numbers, ties to even."""
    name, narrow = "llvm.x86.avx512bf16.cvtneps2bf16.512", ir.VectorType(_BFloat(), LANES)
    kind = ir.FunctionType(narrow, [_FLOATS])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    return b.call(function, [numbers])
