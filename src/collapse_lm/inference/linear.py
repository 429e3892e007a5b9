"""Linear layers over the master weights, or over a copy of them.

A layer may join several weights with the same input (query, key and value; gate and
up), which makes one large product of several small ones.

Shapes: N rows, K inputs, O outputs (of all joined weights together).
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest

import torch
from torch import Tensor
from torch.nn import functional

from collapse_lm.machine.compute import at_least_float32

_CHUNK = 256  # positions whose logits exist at a time


class Linear:
    """x_NK -> x_NK W^T + b over the master weights themselves; nothing to refresh.

    Attributes:
        masters_OK, master_biases_O: the joined weights and their biases, if they have any.
        inputs, outputs: K and O.
    """

    def __init__(self, masters_OK: Sequence[Tensor], biases_O: Sequence[Tensor] = ()) -> None:
        self.masters_OK = masters_OK
        self.master_biases_O = biases_O
        self.inputs = masters_OK[0].shape[1]
        self.outputs = sum(len(master) for master in masters_OK)

    def __call__(self, x_NK: Tensor) -> Tensor:
        """Return the outputs (N, O)."""
        parts = zip_longest(self.masters_OK, self.master_biases_O)
        return torch.cat([functional.linear(x_NK, w, b) for w, b in parts], dim=-1)

    def exact(self, x_NK: Tensor) -> Tensor:
        """Return the outputs of the masters in at least float32, whatever the precision of x."""
        return Linear.__call__(self, x_NK.to(self.masters_OK[0].dtype))

    def copies(self) -> dict[int, Tensor]:
        """Copies of the masters, by their addresses; there are none."""
        return {}

    def refresh(self) -> None:
        """Take over the master's weights."""

    def freeze(self) -> None:
        """Let go of masters that no pass reads; there are none."""


class CopyLinear(Linear):
    """The same over a bfloat16 copy, which `refresh` brings up to date in place.

    Attributes:
        weight_OK: the copy.
    """

    def __init__(self, masters_OK: Sequence[Tensor], biases_O: Sequence[Tensor] = ()) -> None:
        super().__init__(masters_OK, biases_O)
        like = torch.empty(0, dtype=torch.bfloat16, device=masters_OK[0].device)
        self.weight_OK = like.new_empty(self.outputs, self.inputs)
        self._bias_O = like.new_empty(self.outputs) if biases_O else None
        self.refresh()

    def __call__(self, x_NK: Tensor) -> Tensor:
        """Return the outputs (N, O) in bfloat16."""
        return functional.linear(x_NK, self.weight_OK, self._bias_O)

    def copies(self) -> dict[int, Tensor]:
        """Copies of the masters, by their addresses; turned where the master is stored turned."""
        parts = torch.split(self.weight_OK, [len(master) for master in self.masters_OK])
        return {
            master.data_ptr(): part if master.is_contiguous() else part.t()
            for master, part in zip(self.masters_OK, parts, strict=True)
        }

    def refresh(self) -> None:
        """Take over the master's weights."""
        _copy_joined(self.weight_OK, self.masters_OK)
        if self._bias_O is not None:
            _copy_joined(self._bias_O, self.master_biases_O)

    def freeze(self) -> None:
        """Let go of the masters, which only `exact`, `copies` and `refresh` read."""
        self.masters_OK = ()


class SplitLinear(Linear):
    """The same over the masters, with a float32 copy laid out for decoding kernels.

    Attributes:
        weight_OK: the copy; of each row the even inputs first, then the odd ones.
    """

    def __init__(self, masters_OK: Sequence[Tensor], biases_O: Sequence[Tensor] = ()) -> None:
        super().__init__(masters_OK, biases_O)
        self.weight_OK = masters_OK[0].new_empty(self.outputs, self.inputs)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the master's weights."""
        even_OK, odd_OK = self.weight_OK.chunk(2, dim=1)
        for part, copy_OK in ((0, even_OK), (1, odd_OK)):
            _copy_joined(copy_OK, [master[:, part::2] for master in self.masters_OK])


def chunked_nll(head: Callable[[Tensor], Tensor], hidden_NK: Tensor, targets_N: Tensor) -> Tensor:
    """Return -log softmax(head(hidden))[target] (N,) in float64.

    Logits exist for a few hundred positions at a time.
    """
    parts = zip(torch.split(hidden_NK, _CHUNK), torch.split(targets_N, _CHUNK), strict=True)
    return torch.cat([_cross_entropy(head(hidden), targets) for hidden, targets in parts]).double()


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(at_least_float32(logits), targets, reduction="none")


@torch.no_grad()
def _copy_joined(target: Tensor, masters: Sequence[Tensor]) -> None:
    start = 0
    for master in masters:
        part = target[start : start + len(master)]
        if master.dim() == 2 and not master.is_contiguous():  # rounded first, turned then:
            part.copy_(master.t().to(target.dtype).t())  # a third of the time of both at once
        else:
            part.copy_(master)
        start += len(master)
