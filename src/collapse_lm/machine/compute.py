"""Which device and number format the work runs in, decided once at the start of a run.

The master weights are float32 in either precision. In bfloat16, sampling and evaluation
run on a bfloat16 copy (see `inference`) and the training step under autocast.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

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


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Widen: a softmax of bfloat16 would lose most of its tail. float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def has_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 arithmetic is done in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
