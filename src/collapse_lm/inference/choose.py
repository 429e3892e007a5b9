"""Choose the implementation and the number format of a model's inference passes."""

from typing import Any

import torch

from collapse_lm.inference.architectures import GPT2, Llama
from collapse_lm.inference.base import Network
from collapse_lm.inference.cpu.network import CompiledNetwork
from collapse_lm.inference.generic import GenericNetwork
from collapse_lm.inference.linear import CopyLinear, Linear
from collapse_lm.inference.written_out import FastNetwork
from collapse_lm.machine.compute import Precision


def inference_network(master: Any, precision: Precision) -> Network:
    """Return the network that samples and is evaluated in place of the master.

    In float32 (or for a float64 master) it reads the master's weights themselves; in
    bfloat16 it holds a copy of them, which `refresh` brings up to date.
    """
    own = next(master.parameters()).dtype
    dtype = torch.bfloat16 if precision == "bfloat16" else own
    linear_class = Linear if dtype == own else CopyLinear
    for architecture in (GPT2, Llama):
        if architecture.fits(master.config):
            written_out = architecture(master, dtype, linear_class)
            is_compiled = linear_class is CopyLinear and CompiledNetwork.fits(written_out)
            return CompiledNetwork(written_out) if is_compiled else FastNetwork(written_out)
    return GenericNetwork(master, dtype)
