"""Typed pointers from addresses, for arrays inside compiled code."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _pointer_to(numba_type: Any, llvm_type: ir.Type) -> Any:
    @intrinsic
    def at(typing: Any, address: Any) -> Any:
        """Turn an address into a pointer."""

        def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
            return b.inttoptr(arguments[0], llvm_type.as_pointer())

        return types.CPointer(numba_type)(types.intp), generate

    return at


floats_at = _pointer_to(types.float32, ir.FloatType())
integers_at = _pointer_to(types.int64, ir.IntType(64))
