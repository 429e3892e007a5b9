"""bfloat16 numbers in compiled code, which knows them by their bits only."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def widen(typing: Any, half: Any) -> Any:
    """Return the float32 of a bfloat16's bits."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        word = b.zext(arguments[0], ir.IntType(32))
        return b.bitcast(b.shl(word, ir.IntType(32)(16)), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def narrow(typing: Any, number: Any) -> Any:
    """Return the bits of the nearest bfloat16, ties to even; of NaN the usual ones only."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        bits = b.bitcast(arguments[0], word)
        odd = b.and_(b.lshr(bits, word(16)), word(1))
        rounded = b.add(bits, b.add(odd, word(0x7FFF)))
        return b.trunc(b.lshr(rounded, word(16)), ir.IntType(16))

    return types.uint16(types.float32), generate
