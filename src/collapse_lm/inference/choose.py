"""Choose the implementation and the number format of a model's inference passes."""

from typing import Any

import torch

from collapse_lm.inference.base import Network
from collapse_lm.inference.fast import GPT2, FastNetwork, Llama
from collapse_lm.inference.generic import GenericNetwork
from collapse_lm.inference.linear import (
    CopyLinear,
    MasterLinear,
    PackedLinear,
    packing_is_available,
)
from collapse_lm.precision import Precision


def inference_network(master: Any, precision: Precision) -> Network:
    """Return the network that samples and is evaluated in place of the master.

    In float32 (or for a float64 master) it reads the master's weights themselves; in
    bfloat16 it holds a copy of them, which `refresh` brings up to date.
    """
    own = next(master.parameters()).dtype
    dtype = torch.bfloat16 if precision == "bfloat16" else own
    linear = _linear_class(dtype, master.device)
    if GPT2.fits(master.config):
        return FastNetwork(GPT2(master, dtype, linear))
    if Llama.fits(master.config):
        return FastNetwork(Llama(master, dtype, linear))
    return GenericNetwork(master, dtype)


def _linear_class(dtype: torch.dtype, device: torch.device) -> Any:
    if dtype != torch.bfloat16:
        return MasterLinear
    return PackedLinear if device.type == "cpu" and packing_is_available() else CopyLinear
