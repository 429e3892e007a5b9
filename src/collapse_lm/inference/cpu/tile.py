"""The innermost product, as vector code: a few split rows times a few rows of weights.

A compiler left to itself keeps such sums in memory; here they stay in registers. One
32-bit word of the weights holds two bfloat16 numbers, so a row of inputs is "split":
those of even index first, then those of odd index.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

from collapse_lm._util.paths import cache_folder
from collapse_lm.errors import UserError
from collapse_lm.inference.cpu.requirements import LANES

_PANEL = 4  # outputs of one tile
_ROWS = 4  # rows of one tile
_AHEAD = 512  # 32-bit words between the weights that are read and those that are asked for

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_I32, LANES), ir.VectorType(_F32, LANES)


def compiled(function: Any) -> Any:
    """Compile a function at its first call, and keep the machine code for later processes.

    "contract" lets a product and a sum become one instruction; sums keep their order.
    numba keeps code by the file of a function, which misses a change in a file that it
    calls; so each state of these sources has a folder of its own.
    """
    compile_with = functools.partial(njit, nogil=True, error_model="numpy", fastmath={"contract"})
    before = config.CACHE_DIR
    try:
        config.CACHE_DIR = _code_folder()
        return compile_with(cache=True)(function)
    except (RuntimeError, UserError):  # nowhere to write: every process compiles for itself
        return compile_with()(function)
    finally:
        config.CACHE_DIR = before


@functools.cache
def _code_folder() -> str:
    """Folder of the machine code of exactly these sources."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    state = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return str(cache_folder() / "kernels" / state[:16])


def _tiles_of(outputs: int) -> Any:
    """Build the innermost product: up to 4 split rows times `outputs` rows of weights."""

    @intrinsic
    def tiles(
        typing: Any, w: Any, gap: Any, x: Any, half: Any, out: Any, out_stride: Any, rows: Any
    ) -> Any:
        """Write the sums over 2 * half inputs to out[row * out_stride + gap * output]."""
        signature = types.void(*[types.intp] * 7)

        def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
            w, gap, x, half, out, out_stride, rows = arguments
            w = b.inttoptr(w, _I32.as_pointer())
            x = b.inttoptr(x, _F32.as_pointer())
            out = b.inttoptr(out, _F32.as_pointer())
            sizes = range(1, _ROWS + 1)
            blocks = [b.append_basic_block(f"rows{size}") for size in sizes]
            end = b.append_basic_block("end")
            switch = b.switch(rows, blocks[-1])
            for size, block in zip(sizes, blocks, strict=True):
                switch.add_case(_I64(size), block)
                b.position_at_end(block)
                _emit_tile(b, size, outputs, w, gap, x, half, out, out_stride)
                b.branch(end)
            b.position_at_end(end)
            return context.get_dummy_value()

        return signature, generate

    return tiles


def _emit_tile(
    b: ir.IRBuilder,
    rows: int,
    outputs: int,
    w: Any,
    gap: Any,
    x: Any,
    half: Any,
    out: Any,
    out_stride: Any,
) -> None:
    """Write the vector code of one tile."""
    before = b.block
    loop, after = b.append_basic_block("inputs"), b.append_basic_block("sums")
    b.branch(loop)

    b.position_at_end(loop)
    k = b.phi(_I64)
    k.add_incoming(_I64(0), before)
    sums = [[b.phi(_FLOATS) for _ in range(outputs)] for _ in range(rows)]
    pairs = []
    for o in range(outputs):
        here = b.gep(w, [b.add(b.mul(b.mul(half, gap), _I64(o)), k)])
        _prefetch(b, b.gep(here, [_I64(_AHEAD)]))
        word = _load(b, here, _INTS)
        even = b.shl(word, _INTS([16] * LANES))
        odd = b.and_(word, _INTS([0xFFFF0000] * LANES))
        pairs.append((b.bitcast(even, _FLOATS), b.bitcast(odd, _FLOATS)))
    for r in range(rows):
        start = b.add(b.mul(half, _I64(2 * r)), k)
        x_even = _load(b, b.gep(x, [start]), _FLOATS)
        x_odd = _load(b, b.gep(x, [b.add(start, half)]), _FLOATS)
        for o, (even, odd) in enumerate(pairs):
            sums[r][o].add_incoming(_FLOATS([0.0] * LANES), before)
            partial = _fma(b, even, x_even, sums[r][o])
            sums[r][o].add_incoming(_fma(b, odd, x_odd, partial), loop)
    following = b.add(k, _I64(LANES))
    k.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, half), loop, after)

    b.position_at_end(after)
    for r in range(rows):
        for o in range(outputs):
            total = _sum_of_lanes(b, sums[r][o].incomings[1][0])
            place = b.add(b.mul(out_stride, _I64(r)), b.mul(gap, _I64(o)))
            b.store(total, b.gep(out, [place]))


def _load(b: ir.IRBuilder, pointer: Any, kind: ir.VectorType) -> Any:
    value = b.load(b.bitcast(pointer, kind.as_pointer()))
    value.align = 4
    return value


def _fma(b: ir.IRBuilder, x: Any, y: Any, z: Any) -> Any:
    name = f"llvm.fma.v{LANES}f32"
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    return b.call(b.module.globals.get(name) or ir.Function(b.module, kind, name), [x, y, z])


def _prefetch(b: ir.IRBuilder, pointer: Any) -> None:
    """Ask for a cache line of weights that will be needed soon; any address is allowed."""
    byte = ir.IntType(8).as_pointer()
    name = "llvm.prefetch.p0"
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    b.call(function, [b.bitcast(pointer, byte), _I32(0), _I32(2), _I32(1)])


def _sum_of_lanes(b: ir.IRBuilder, vector: Any) -> Any:
    """Add up the lanes, halves to halves."""
    width = LANES
    while width > 1:
        width //= 2
        low, high = (
            b.shuffle_vector(vector, vector, _indices(range(start, start + width)))
            for start in (0, width)
        )
        vector = b.fadd(low, high)
    return b.extract_element(vector, _I32(0))


def _indices(values: range) -> Any:
    return ir.VectorType(_I32, len(values))([_I32(value) for value in values])


_one_output, _panel = _tiles_of(1), _tiles_of(_PANEL)


@compiled
def product(
    w: Any, x: Any, inputs: Any, rows: Any, first: Any, last: Any, out: Any, stride: Any
) -> None:
    """Multiply split rows at address x by the outputs first..last of the weights at w.

    The outputs of a tile lie far apart, so that each is a stream of its own that the
    processor reads ahead of: one stream alone does not keep the memory busy.
    """
    half, gap = inputs // 2, (last - first) // _PANEL
    for o in range(first, first + gap):
        weights = w + o * inputs * 2
        for r in range(0, rows, _ROWS):
            source, target = x + r * inputs * 4, out + (r * stride + o) * 4
            _panel(weights, gap, source, half, target, stride, min(rows - r, _ROWS))
    for o in range(first + _PANEL * gap, last):
        weights = w + o * inputs * 2
        for r in range(0, rows, _ROWS):
            source, target = x + r * inputs * 4, out + (r * stride + o) * 4
            _one_output(weights, gap, source, half, target, stride, min(rows - r, _ROWS))
