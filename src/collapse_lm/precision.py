"""Which device and number format the work runs in, decided once at the start of a run.

In bfloat16, sampling and evaluation run on a bfloat16 copy of the float32 master
weights, refreshed in place once per update, and the training step under autocast.
"""

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Compute:
    """A device and the precision of sampling, evaluation and the forward of a step."""

    device: torch.device
    precision: Precision

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a training forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def choose_compute(precision: Literal["auto", "float32", "bfloat16"]) -> Compute:
    """Take the GPU if there is one; under auto take bfloat16 where the hardware has it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    return Compute(device, precision)


def has_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 arithmetic is done in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class WorkingWeights:
    """The network that samples and is evaluated: the master itself, or its bfloat16 copy."""

    def __init__(self, master: Any, precision: Precision) -> None:
        self._master = master
        is_copy = precision == "bfloat16"
        self.network = _bfloat16_copy(master) if is_copy else master

    def refresh(self) -> None:
        """Take over the master's weights, in place. Call it after every optimizer step."""
        if self.network is self._master:
            return
        with torch.no_grad():
            torch._foreach_copy_(
                list(self.network.parameters()), [p.detach() for p in self._master.parameters()]
            )


def _bfloat16_copy(master: Any) -> Any:
    """Copy a network with bfloat16 parameters; buffers (rotary frequencies) stay as they are."""
    network = copy.deepcopy(master)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(torch.bfloat16)
    return network
