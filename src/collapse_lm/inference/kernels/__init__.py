"""Machine code for decoding and evaluation on a CPU: bfloat16 weights, float32 sums.

A decode step reads every weight once for a handful of rows, so it can be as fast as
memory delivers the weights. Libraries made for large products stay far from that at
this size; these kernels are compiled for the machine they run on (numba) and do a
whole pass in one call, on the threads that torch already has (see `team`).

A row's result does not depend on the rows beside it: every sum runs in one fixed
order. So a token that was checked as a proposal is bit for bit the token that plain
decoding picks.

Shapes: N rows, K inputs, O outputs, F width of the MLP, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from collapse_lm.inference.kernels import bulk, bulk_pass, dots, many_rows, team, whole_pass
from collapse_lm.inference.kernels.tile import LANES, MULTIPLE, compiled, product

__all__ = [
    "LANES",
    "MULTIPLE",
    "NUMBERS",
    "are_available",
    "gated",
    "gelu_",
    "loss_by_blocks",
    "loss_by_tiles",
    "matrix_product",
    "negative_log_likelihood",
    "rms_norm",
    "run_bulk_pass",
    "run_pass",
    "suits",
    "takes",
    "takes_many_rows",
]

NUMBERS: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # what kernels read
_BLOCK = 2048  # columns of logits that exist at a time

are_available = team.is_available


def takes(weight_OK: Tensor) -> bool:
    """True for weights that the products here can read."""
    is_here = weight_OK.device.type == "cpu" and weight_OK.dtype == torch.bfloat16
    fits = weight_OK.is_contiguous() and weight_OK.shape[1] % MULTIPLE == 0
    return is_here and fits and are_available()


def suits(x: Tensor) -> bool:
    """True for rows that the element-wise functions here can read."""
    is_here = x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.is_contiguous()
    return is_here and x.shape[-1] % LANES == 0 and are_available()


def run_pass(arguments: list[int]) -> None:
    """Run a decoding pass over a few tokens; for its arguments see `arguments`."""
    team.run(whole_pass.run_part, arguments)


def takes_many_rows(head_width: int) -> bool:
    """True where whole passes over many rows run here, for heads of this width."""
    return are_available() and dots.is_fastest() and head_width % MULTIPLE == 0


def run_bulk_pass(arguments: list[int]) -> None:
    """Run a pass over whole sequences; for its arguments see `arguments`."""
    team.run(bulk_pass.run_part, arguments)


def matrix_product(x_NK: Tensor, weight_OK: Tensor) -> Tensor:
    """Return x W^T (N, O) in float32, for few rows."""
    rows, inputs = x_NK.shape
    split_N2K = x_NK.float().view(rows, inputs // 2, 2).transpose(1, 2).contiguous()
    out_NO = torch.empty(rows, len(weight_OK), **NUMBERS)
    addresses = [split_N2K.data_ptr(), weight_OK.data_ptr(), out_NO.data_ptr()]
    team.run(_product_part, [rows, inputs, len(weight_OK), *addresses])
    return out_NO


@compiled
def _product_part(a: Any, thread: Any, threads: Any) -> None:
    """One thread's part of a product: rows, inputs, outputs, x, weights, out."""
    first, last = team.share(a[2], thread, threads)
    product(a[4], a[3], a[1], a[0], first, last, a[5], a[2])


def negative_log_likelihood(hidden_NK: Tensor, weight_VK: Tensor, targets_N: Tensor) -> Tensor:
    """Return -log softmax(h W^T)[target] (N,) in float64, without the logits of all rows."""
    way = loss_by_tiles if dots.is_fastest() else loss_by_blocks
    return way(hidden_NK.to(weight_VK.dtype).contiguous(), weight_VK, targets_N.contiguous())


def loss_by_tiles(hidden_NK: Tensor, weight_VK: Tensor, targets_N: Tensor) -> Tensor:
    """The loss by our own product: logits stay in the processor, in float32."""
    (rows, inputs), threads = hidden_NK.shape, torch.get_num_threads()
    sums_T3N = torch.zeros(threads, 3, rows, dtype=torch.float64, device="cpu")
    sums_T3N[:, 0] = -torch.inf
    private = many_rows.linear_scratch(inputs)
    scratch = torch.empty(threads, private, **NUMBERS)
    tensors = (hidden_NK, weight_VK, targets_N, sums_T3N, scratch)
    addresses = [tensor.data_ptr() for tensor in tensors]
    team.run(_loss_part, [rows, inputs, len(weight_VK), private, *addresses])
    largest_TN, sum_TN, wanted_TN = sums_T3N.unbind(1)
    return (largest_TN + sum_TN.log()).logsumexp(0) - wanted_TN.sum(0)


@compiled
def _loss_part(a: Any, thread: Any, threads: Any) -> None:
    """One thread's part of a loss: sizes, hidden, weights, targets, sums, scratch."""
    own = a[8] + 4 * thread * a[3]
    many_rows.loss(a[0], a[1], a[2], a[4], a[5], a[6], a[7], own, thread, threads)


def loss_by_blocks(hidden_NK: Tensor, weight_VK: Tensor, targets_N: Tensor) -> Tensor:
    """The loss by torch's product, of a block of the vocabulary at a time.

    Its logits are rounded to bfloat16, as torch's product returns them.
    """
    rows = len(hidden_NK)
    largest_N = torch.full((rows,), -torch.inf, dtype=torch.float64, device="cpu")
    sum_N = torch.zeros(rows, dtype=torch.float64, device="cpu")
    wanted_N = torch.zeros(rows, dtype=torch.float64, device="cpu")
    logits = hidden_NK.new_empty(rows * _BLOCK)
    scratch = torch.empty(torch.get_num_threads(), _BLOCK, **NUMBERS)
    tensors = (targets_N, largest_N, sum_N, wanted_N, scratch)
    for start in range(0, len(weight_VK), _BLOCK):
        block_bK = weight_VK[start : start + _BLOCK]
        out_Nb = logits[: rows * len(block_bK)].view(rows, len(block_bK))
        torch.mm(hidden_NK, block_bK.t(), out=out_Nb)
        addresses = [out_Nb.data_ptr(), *(tensor.data_ptr() for tensor in tensors)]
        team.run(bulk.block_nll_part, [rows, len(block_bK), start, *addresses])
    return largest_N + sum_N.log() - wanted_N


def gelu_(x: Tensor) -> Tensor:
    """GELU (tanh form) of a bfloat16 tensor, in place."""
    team.run(bulk.gelu_part, [x.numel(), x.data_ptr()])
    return x


def gated(gate_up_N2F: Tensor) -> Tensor:
    """Return silu(gate) * up (N, F), all bfloat16; gate and up lie beside each other."""
    rows, inner = len(gate_up_N2F), gate_up_N2F.shape[-1] // 2
    out_NF = gate_up_N2F.new_empty(rows, inner)
    team.run(bulk.gated_part, [rows, inner, gate_up_N2F.data_ptr(), out_NF.data_ptr()])
    return out_NF


def rms_norm(x_NK: Tensor, weight_K: Tensor, eps: float) -> Tensor:
    """Return the RMSNorm of bfloat16 rows; the weight is float32."""
    rows, width = x_NK.shape
    out_NK = torch.empty_like(x_NK)
    scratch = torch.empty(torch.get_num_threads(), width + LANES, **NUMBERS)
    tensors = (x_NK, weight_K, torch.tensor(eps, **NUMBERS), out_NK, scratch)
    team.run(bulk.rms_norm_part, [rows, width, *(tensor.data_ptr() for tensor in tensors)])
    return out_NK
