"""Products of many bfloat16 rows, by the processor's dot product of bfloat16 pairs.

One instruction (AVX512-BF16's VDPBF16PS) adds 32 products to 16 float32 sums. A panel
of weights is repacked so that one vector holds a pair of inputs of each of 16 outputs;
then 8 rows by 48 outputs of sums stay in registers while the inputs go by. That comes
close to all that the processor can do; what it gains over torch's product is that what
follows needs no pass over memory (docs/performance.md).

A sum runs in one fixed order, so a row's result does not depend on the rows beside it.

Shapes: N rows, K inputs, O outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial, reduce
from itertools import chain
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from collapse_lm.inference.kernels.tile import LANES, fold

VECTORS = 3
PANEL = VECTORS * LANES  # outputs of one tile
ROWS = 8  # rows of one tile

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_I32, LANES), ir.VectorType(_F32, LANES)


class _BFloat(ir.Type):  # type: ignore[misc] # llvmlite has no types
    """LLVM's bfloat, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_PAIRS = ir.VectorType(_BFloat(), 2 * LANES)


def is_available() -> bool:
    """True where the processor has the instruction."""
    return bool(_features().get("avx512bf16"))


def is_fastest() -> bool:
    """True where, besides, it has no unit for whole matrices (AMX), which torch makes use of."""
    return is_available() and not _features().get("amx-bf16")


@cache
def _features() -> Mapping[str, bool]:
    features: Mapping[str, bool] = llvmlite.binding.get_host_cpu_features()
    return features


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
    return tuple(
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


def _linear_tile(activate: Callable[[ir.IRBuilder, Any], Any] | None) -> Any:
    @intrinsic
    def tile(
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
        """Write sums plus bias, activated, as bfloat16 to out[row * out_stride + output]."""

        def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
            *read, bias, out, out_stride, rows = arguments
            bias = b.inttoptr(bias, _F32.as_pointer())
            out = b.inttoptr(out, ir.IntType(16).as_pointer())

            def finish(b: ir.IRBuilder, row: int, sums: Sequence[Any]) -> None:
                start = b.mul(out_stride, _I64(row))
                for v, total in enumerate(sums):
                    added = b.fadd(total, _load(b, b.gep(bias, [_I64(v * LANES)]), _FLOATS))
                    result = added if activate is None else activate(b, added)
                    place = b.gep(out, [b.add(start, _I64(v * LANES))])
                    _store(b, _narrow(b, result), place, align=2)

            _emit_tiles(b, read, rows, finish)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), generate

    return tile


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
        pair = _broadcast(b, b.load(b.gep(x, [b.add(start, k)])), _PAIRS)
        totals.append([_dot(b, sums[row][v], pair, weights[v]) for v in range(VECTORS)])
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


def _store(b: ir.IRBuilder, value: Any, pointer: Any, align: int = 4) -> None:
    b.store(value, b.bitcast(pointer, value.type.as_pointer())).align = align


def _broadcast(b: ir.IRBuilder, word: Any, kind: ir.VectorType) -> Any:
    empty = ir.Constant(_INTS, ir.Undefined)
    first = b.insert_element(empty, word, _I32(0))
    return b.bitcast(b.shuffle_vector(first, empty, _INTS([_I32(0)] * LANES)), kind)


def _dot(b: ir.IRBuilder, total: Any, x: Any, w: Any) -> Any:
    """Add x[2 i] * w[2 i] + x[2 i + 1] * w[2 i + 1] to each sum i."""
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    kind = ir.FunctionType(_FLOATS, [_FLOATS, _PAIRS, _PAIRS])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    return b.call(function, [total, x, b.bitcast(w, _PAIRS)])


def _narrow(b: ir.IRBuilder, numbers: Any) -> Any:
    """Return the nearest bfloat16 numbers, ties to even."""
    name, narrow = "llvm.x86.avx512bf16.cvtneps2bf16.512", ir.VectorType(_BFloat(), LANES)
    kind = ir.FunctionType(narrow, [_FLOATS])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    return b.call(function, [numbers])


def _call(b: ir.IRBuilder, name: str, *arguments: Any, extra: Sequence[Any] = ()) -> Any:
    """Call a function of vectors of float32."""
    every = [*arguments, *extra]
    kind = ir.FunctionType(_FLOATS, [argument.type for argument in every])
    return b.call(b.module.globals.get(name) or ir.Function(b.module, kind, name), every)


def _all(number: float) -> Any:
    return _FLOATS([number] * LANES)


def _fma(b: ir.IRBuilder, x: Any, y: Any, z: Any) -> Any:
    return _call(b, f"llvm.fma.v{LANES}f32", x, y, z)


def _exponential(b: ir.IRBuilder, x: Any) -> Any:
    """e^x to about 2 units in the last place; 0 or infinity far out; NaN stays NaN."""
    for far, side in ((-140.0, "<"), (140.0, ">")):
        x = b.select(b.fcmp_ordered(side, x, _all(far)), _all(far), x)
    n = _call(b, f"llvm.rint.v{LANES}f32", b.fmul(x, _all(1.4426950216293335)))
    x = _fma(b, n, _all(-0.693359375), x)
    x = _fma(b, n, _all(2.12194440e-4), x)
    p = _all(1.9875691500e-4)
    for coefficient in _COEFFICIENTS:
        p = _fma(b, p, x, _all(coefficient))
    p = _fma(b, p, b.fmul(x, x), b.fadd(x, _all(1.0)))
    rest = [_FLOATS([0.0] * LANES), ir.IntType(16)(-1), _I32(4)]  # every lane, current rounding
    return _call(b, "llvm.x86.avx512.mask.scalef.ps.512", p, n, extra=rest)


_COEFFICIENTS = (  # of (e^x - 1 - x) / x^2, from the highest power down
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)


def _gelu(b: ir.IRBuilder, x: Any) -> Any:
    """GELU by tanh: x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 x^3))."""
    cube = _fma(b, b.fmul(x, x), _all(0.044715 * -1.5957691216), _all(-1.5957691216))
    return b.fdiv(x, b.fadd(_exponential(b, b.fmul(x, cube)), _all(1.0)))


linear_tile, gelu_tile = _linear_tile(None), _linear_tile(_gelu)


@intrinsic
def panel_largest(typing: Any, row: Any) -> Any:
    """Largest of a panel of float32 numbers; anything where one of them is not a number."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        top, *others = _read_panel(b, arguments[0])
        for other in others:
            top = _greater(b, top, other)
        return fold(b, top, partial(_greater, b))

    return types.float32(types.intp), generate


@intrinsic
def panel_exponentials(typing: Any, row: Any, top: Any) -> Any:
    """Sum of exp(x - top) over a panel of float32 numbers."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        top = _broadcast(b, b.bitcast(arguments[1], _I32), _FLOATS)
        terms = [_exponential(b, b.fsub(x, top)) for x in _read_panel(b, arguments[0])]
        return fold(b, reduce(b.fadd, terms), b.fadd)

    return types.float32(types.intp, types.float32), generate


def _read_panel(b: ir.IRBuilder, address: Any) -> list[Any]:
    row = b.inttoptr(address, _F32.as_pointer())
    return [_load(b, b.gep(row, [_I64(v * LANES)]), _FLOATS) for v in range(VECTORS)]


def _greater(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.select(b.fcmp_ordered(">", x, y), x, y)
