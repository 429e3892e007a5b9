"""Machine code for decoding on a CPU: weights in bfloat16 or float32, sums in float32.

A decode step reads every weight once for a handful of rows, so it can be as fast as
memory delivers the weights. Libraries made for large products stay far from that at
this size; these kernels are compiled for the machine they run on (numba) and do a
whole pass in one call, on the threads that torch already has (see `team`). They need no
instruction for bfloat16.

A row's result does not depend on the rows beside it: every sum runs in one fixed
order. So a token that was checked as a proposal is bit for bit the token that plain
decoding picks.

Shapes: N rows, K inputs, O outputs.
"""

import threading
from typing import Any

import torch
from torch import Tensor

from collapse_lm.inference.cpu import team, whole_pass
from collapse_lm.inference.cpu.arguments import ARGUMENTS
from collapse_lm.inference.cpu.tile import compiled, product

_PRODUCT_ARGUMENTS = 7  # rows, inputs, outputs, x, weights, out, bytes of a weight
NUMBERS: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # what kernels read


def compile_ahead() -> None:
    """Compile what passes need, or fetch it from the cache, beside what goes on meanwhile."""
    threading.Thread(target=_compile).start()


def _compile() -> None:
    team.prepare(whole_pass.run_part, ARGUMENTS)
    team.prepare(_product_part, _PRODUCT_ARGUMENTS)


def run_pass(arguments: list[int]) -> None:
    """Run a decoding pass over a few tokens; for its arguments see `arguments`."""
    team.run(whole_pass.run_part, arguments)


def matrix_product(x_NK: Tensor, weight_OK: Tensor) -> Tensor:
    """Return x W^T (N, O) in float32, for few rows.

    Args:
        x_NK: any floating-point type, on the CPU.
        weight_OK: bfloat16 weights that `requirements.can_multiply` takes, or those of a
            `SplitLinear`.
    """
    rows, inputs = x_NK.shape
    split_N2K = x_NK.float().view(rows, inputs // 2, 2).transpose(1, 2).contiguous()
    out_NO = torch.empty(rows, len(weight_OK), **NUMBERS)
    addresses = [split_N2K.data_ptr(), weight_OK.data_ptr(), out_NO.data_ptr()]
    sizes = [rows, inputs, len(weight_OK)]
    team.run(_product_part, [*sizes, *addresses, weight_OK.element_size()])
    return out_NO


@compiled
def _product_part(a: Any, thread: Any, threads: Any) -> None:
    """One thread's part of a product."""
    first, last = team.share(a[2], thread, threads)
    product(a[4], a[6], a[3], a[1], a[0], first, last, a[5], a[2])
