"""The innermost product, as vector code: a few split rows times a few rows of weights.

A compiler left to itself keeps such sums in memory; here they stay in registers. One
32-bit word of the weights holds two bfloat16 numbers, so a row of inputs is "split":
those of even index first, then those of odd index. Weights in float32 lie split likewise
(`SplitLinear`), so that all else is the same for both.
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
from collapse_lm.inference.cpu.layout import PANEL, Layout
from collapse_lm.inference.cpu.requirements import layout_here

_AHEAD = 512  # 32-bit words between the weights that are read and those that are asked for

BFLOAT16, FLOAT32 = 2, 4  # bytes of a weight

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


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


def _tiles_of(layout: Layout, outputs: int, size: int) -> Any:
    """Build the innermost product: a few split rows times `outputs` rows of weights."""

    @intrinsic
    def tiles(
        typing: Any, w: Any, gap: Any, x: Any, half: Any, out: Any, out_stride: Any, rows: Any
    ) -> Any:
        """Write the sums over 2 * half inputs to out[row * out_stride + gap * output]."""
        signature = types.void(*[types.intp] * 7)

        def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
            w, gap, x, half, out, out_stride, rows = arguments
            w = b.inttoptr(w, (_I32 if size == BFLOAT16 else _F32).as_pointer())
            x = b.inttoptr(x, _F32.as_pointer())
            out = b.inttoptr(out, _F32.as_pointer())
            sizes = range(1, layout.rows + 1)
            blocks = [b.append_basic_block(f"rows{count}") for count in sizes]
            end = b.append_basic_block("end")
            switch = b.switch(rows, blocks[-1])
            for count, block in zip(sizes, blocks, strict=True):
                switch.add_case(_I64(count), block)
                b.position_at_end(block)
                _Tile(b, layout, count, outputs, size).emit(w, gap, x, half, out, out_stride)
                b.branch(end)
            b.position_at_end(end)
            return context.get_dummy_value()

        return signature, generate

    return tiles


class _Tile:
    """The vector code of one tile."""

    def __init__(self, b: ir.IRBuilder, layout: Layout, rows: int, outputs: int, size: int) -> None:
        self._b, self._layout, self._rows, self._outputs = b, layout, rows, outputs
        self._weights = self._pairs if size == BFLOAT16 else self._halves
        self._ints = ir.VectorType(_I32, layout.lanes)
        self._floats = ir.VectorType(_F32, layout.lanes)

    def emit(self, w: Any, gap: Any, x: Any, half: Any, out: Any, out_stride: Any) -> None:
        """Write a loop over the inputs, and what stores its sums."""
        b, before = self._b, self._b.block
        loop, after = b.append_basic_block("inputs"), b.append_basic_block("sums")
        b.branch(loop)

        b.position_at_end(loop)
        k = b.phi(_I64)
        k.add_incoming(_I64(0), before)
        places = [(r, o) for r in range(self._rows) for o in range(self._outputs)]
        begun = {place: b.phi(self._floats) for place in places}
        sums = dict(begun)
        for step in range(self._layout.steps):
            self._add(sums, b.add(k, _I64(step * self._layout.lanes)), step, w, gap, x, half)
        for place in places:
            begun[place].add_incoming(self._floats([0.0] * self._layout.lanes), before)
            begun[place].add_incoming(sums[place], loop)
        following = b.add(k, _I64(self._layout.steps * self._layout.lanes))
        k.add_incoming(following, loop)
        b.cbranch(b.icmp_signed("<", following, half), loop, after)

        b.position_at_end(after)
        for r, o in places:
            place = b.add(b.mul(out_stride, _I64(r)), b.mul(gap, _I64(o)))
            b.store(self._sum_of_lanes(sums[r, o]), b.gep(out, [place]))

    def _add(self, sums: Any, k: Any, step: int, w: Any, gap: Any, x: Any, half: Any) -> None:
        """Add the products of one register of words per output to the sums.

        For one row the processor reads ahead by itself, and faster unasked; with several it
        has too much else to do.
        """
        b = self._b
        is_asked = step == 0 and self._rows > 1
        places = [b.mul(b.mul(half, gap), _I64(o)) for o in range(self._outputs)]
        pairs = [self._weights(w, place, k, half, is_asked) for place in places]
        for r in range(self._rows):
            start = b.add(b.mul(half, _I64(2 * r)), k)
            x_even = self._load(b.gep(x, [start]), self._floats)
            x_odd = self._load(b.gep(x, [b.add(start, half)]), self._floats)
            for o, (even, odd) in enumerate(pairs):
                partial = self._fma(even, x_even, sums[r, o])
                sums[r, o] = self._fma(odd, x_odd, partial)

    def _pairs(self, w: Any, place: Any, k: Any, half: Any, is_asked: bool) -> tuple[Any, Any]:
        """Weights of even and of odd inputs, two of bfloat16 to a word."""
        b, lanes = self._b, self._layout.lanes
        here = b.gep(w, [b.add(place, k)])
        if is_asked:
            _prefetch(b, b.gep(here, [_I64(_AHEAD)]))
        word = self._load(here, self._ints)
        even = b.shl(word, self._ints([16] * lanes))
        odd = b.and_(word, self._ints([0xFFFF0000] * lanes))
        return b.bitcast(even, self._floats), b.bitcast(odd, self._floats)

    def _halves(self, w: Any, place: Any, k: Any, half: Any, is_asked: bool) -> tuple[Any, Any]:
        """The same of a row in float32, which lies split."""
        b = self._b
        even = b.gep(w, [b.add(b.mul(place, _I64(2)), k)])
        odd = b.gep(even, [half])
        if is_asked:
            _prefetch(b, b.gep(even, [_I64(_AHEAD)]))
            _prefetch(b, b.gep(odd, [_I64(_AHEAD)]))
        return self._load(even, self._floats), self._load(odd, self._floats)

    def _load(self, pointer: Any, kind: ir.VectorType) -> Any:
        value = self._b.load(self._b.bitcast(pointer, kind.as_pointer()))
        value.align = 4
        return value

    def _fma(self, x: Any, y: Any, z: Any) -> Any:
        name = f"llvm.fma.v{self._layout.lanes}f32"
        kind, module = ir.FunctionType(self._floats, [self._floats] * 3), self._b.module
        return self._b.call(module.globals.get(name) or ir.Function(module, kind, name), [x, y, z])

    def _sum_of_lanes(self, vector: Any) -> Any:
        """Add up the lanes, halves to halves."""
        width = self._layout.lanes
        while width > 1:
            width //= 2
            low, high = (
                self._b.shuffle_vector(vector, vector, _indices(range(start, start + width)))
                for start in (0, width)
            )
            vector = self._b.fadd(low, high)
        return self._b.extract_element(vector, _I32(0))


def _prefetch(b: ir.IRBuilder, pointer: Any) -> None:
    """Ask for a cache line of weights that will be needed soon; any address is allowed."""
    byte = ir.IntType(8).as_pointer()
    name = "llvm.prefetch.p0"
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    b.call(function, [b.bitcast(pointer, byte), _I32(0), _I32(2), _I32(1)])


def _indices(values: range) -> Any:
    return ir.VectorType(_I32, len(values))([_I32(value) for value in values])


def product_in(layout: Layout) -> Any:
    """The product in a layout, as a compiled function.

    It multiplies split rows at address x by the outputs first..last of the weights at w, of so
    many bytes each, and writes to `out`, whose rows lie `to` numbers apart. The
    outputs of a tile lie far apart, so that each is a stream of its own that the processor
    reads ahead of: one stream alone does not keep the memory busy.
    """
    rows_at_once = layout.rows
    one_narrow, panel_narrow = (_tiles_of(layout, outputs, BFLOAT16) for outputs in (1, PANEL))
    one_wide, panel_wide = (_tiles_of(layout, outputs, FLOAT32) for outputs in (1, PANEL))

    def multiply(
        w: Any, size: Any, x: Any, inputs: Any, rows: Any, first: Any, last: Any, out: Any, to: Any
    ) -> None:
        half, gap = inputs // 2, (last - first) // PANEL
        for o in range(first, first + gap):
            weights = w + o * inputs * size
            for r in range(0, rows, rows_at_once):
                count = min(rows - r, rows_at_once)
                source, target = x + r * inputs * 4, out + (r * to + o) * 4
                if size == BFLOAT16:
                    panel_narrow(weights, gap, source, half, target, to, count)
                else:
                    panel_wide(weights, gap, source, half, target, to, count)
        for o in range(first + PANEL * gap, last):
            weights = w + o * inputs * size
            for r in range(0, rows, rows_at_once):
                count = min(rows - r, rows_at_once)
                source, target = x + r * inputs * 4, out + (r * to + o) * 4
                if size == BFLOAT16:
                    one_narrow(weights, gap, source, half, target, to, count)
                else:
                    one_wide(weights, gap, source, half, target, to, count)

    multiply.__qualname__ = f"multiply_{layout.lanes}"  # numba keeps machine code by this name
    return compiled(multiply)


product = product_in(layout_here())
