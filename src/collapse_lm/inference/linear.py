"""Linear layers over the master weights, over a bfloat16 copy, or over a packed copy.

A layer may join several weights with the same input (query, key and value; gate and
up), which makes one large product of several small ones.

Why packed: on a CPU a product with few rows is bound by memory, and oneDNN reads
bfloat16 weights in its own blocked layout at about twice the speed of the plain one
(docs/performance.md).

Shapes: N rows, K inputs, O outputs (of all joined weights together).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

Activation = str | None  # None or "gelu_tanh"


class Linear(Protocol):
    """x_NK -> x_NK W^T + b, with an optional activation or a residual added."""

    def __call__(self, x_NK: Tensor, activation: Activation = None) -> Tensor:
        """Return the outputs (N, O)."""
        ...

    def add_to(self, residual_NO: Tensor, x_NK: Tensor) -> Tensor:
        """Return residual + outputs."""
        ...

    def exact(self, x_NK: Tensor) -> Tensor:
        """Return the outputs in at least float32, not rounded to the weights' precision."""
        ...

    def refresh(self) -> None:
        """Take over the master's weights."""
        ...


class MasterLinear:
    """Reads the master weights themselves; nothing to refresh."""

    def __init__(self, weights_OK: Sequence[Tensor], biases_O: Sequence[Tensor] = ()) -> None:
        self._weights_OK = weights_OK
        self._biases_O: Sequence[Tensor | None] = biases_O or [None] * len(weights_OK)

    def __call__(self, x_NK: Tensor, activation: Activation = None) -> Tensor:
        """Return the outputs (N, O)."""
        parts = zip(self._weights_OK, self._biases_O, strict=True)
        out_NO = torch.cat([functional.linear(x_NK, w, b) for w, b in parts], dim=-1)
        return _activate(out_NO, activation)

    def add_to(self, residual_NO: Tensor, x_NK: Tensor) -> Tensor:
        """Return residual + outputs."""
        return residual_NO + self(x_NK)

    def exact(self, x_NK: Tensor) -> Tensor:
        """Return the outputs; the master is float32 or wider."""
        return self(x_NK)

    def refresh(self) -> None:
        """Nothing: these are the master's weights."""


class CopyLinear:
    """A bfloat16 copy in the plain layout, for a GPU."""

    def __init__(self, weights_OK: Sequence[Tensor], biases_O: Sequence[Tensor] = ()) -> None:
        self._masters_OK = weights_OK
        self._master_biases_O = biases_O
        self._weight_OK = _joined(weights_OK)
        self._bias_O = _joined(biases_O) if biases_O else None

    def __call__(self, x_NK: Tensor, activation: Activation = None) -> Tensor:
        """Return the outputs (N, O)."""
        return _activate(functional.linear(x_NK, self._weight_OK, self._bias_O), activation)

    def add_to(self, residual_NO: Tensor, x_NK: Tensor) -> Tensor:
        """Return residual + outputs."""
        return residual_NO + self(x_NK)

    def exact(self, x_NK: Tensor) -> Tensor:
        """Return the outputs of a float32 product with the bfloat16 weights."""
        bias_O = None if self._bias_O is None else self._bias_O.float()
        return functional.linear(x_NK.float(), self._weight_OK.float(), bias_O)

    def refresh(self) -> None:
        """Take over the master's weights, in place."""
        _copy_joined(self._weight_OK, self._masters_OK)
        if self._bias_O is not None:
            _copy_joined(self._bias_O, self._master_biases_O)


class PackedLinear:
    """A bfloat16 copy in oneDNN's blocked layout, for a CPU."""

    def __init__(self, weights_OK: Sequence[Tensor], biases_O: Sequence[Tensor] = ()) -> None:
        self._masters_OK = weights_OK
        self._master_biases_O = biases_O
        self._packed = _pack(weights_OK)
        self._bias_O = _joined(biases_O) if biases_O else None

    def __call__(self, x_NK: Tensor, activation: Activation = None) -> Tensor:
        """Return the outputs (N, O)."""
        name, algorithm = ("gelu", "tanh") if activation else ("none", "")
        out_NO: Tensor = torch.ops.mkldnn._linear_pointwise(
            x_NK, self._packed, self._bias_O, name, [], algorithm
        )
        return out_NO

    def add_to(self, residual_NO: Tensor, x_NK: Tensor) -> Tensor:
        """Return residual + outputs (for few rows faster than oneDNN's own sum)."""
        return residual_NO + self(x_NK)

    def exact(self, x_NK: Tensor) -> Tensor:
        """Return the outputs in float32: the rounded ones plus what the rounding lost.

        oneDNN sums in float32 but returns bfloat16. A second product, from which the
        first result is subtracted before it is rounded, returns the remainder, whose own
        rounding is 2^-8 of it.
        """
        rounded_NO = self(x_NK)
        lost_NO: Tensor = torch.ops.mkldnn._linear_pointwise(
            x_NK, -rounded_NO, self._packed, self._bias_O, "add"
        )
        return rounded_NO.float() + lost_NO.float()

    def refresh(self) -> None:
        """Take over the master's weights.

        The old copy is given back first, so that no more than this one matrix is held
        twice. (Copying into the packed tensor keeps its memory but loses its layout.)
        """
        del self._packed
        self._packed = _pack(self._masters_OK)
        if self._bias_O is not None:
            _copy_joined(self._bias_O, self._master_biases_O)


def packing_is_available() -> bool:
    """True where this build of torch can pack bfloat16 weights for its CPU."""
    operators = torch.ops.mkldnn
    return hasattr(operators, "_reorder_linear_weight") and bool(
        operators._is_mkldnn_bf16_supported()
    )


def _pack(masters: Sequence[Tensor]) -> Tensor:
    """Join, round to bfloat16 and reorder into the layout for few rows."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(_joined(masters), 1)
    return packed


def _joined(masters: Sequence[Tensor]) -> Tensor:
    return torch.cat([master.detach().to(torch.bfloat16) for master in masters])


def _copy_joined(target: Tensor, masters: Sequence[Tensor]) -> None:
    start = 0
    for master in masters:
        target[start : start + len(master)].copy_(master.detach())
        start += len(master)


def _activate(x: Tensor, activation: Activation) -> Tensor:
    return functional.gelu(x, approximate="tanh") if activation else x
