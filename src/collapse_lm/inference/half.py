"""A copy of a network in another number format, brought up to date in place."""

import copy
import re
from typing import Any

import torch


def copy_in(master: Any, dtype: torch.dtype) -> Any:
    """Copy a network with parameters of another type, as transformers loads it in that type.

    What a model keeps in float32 stays so, and so do buffers (rotary frequencies).
    """
    kept = "|".join(master._keep_in_fp32_modules_strict or ())
    network = copy.deepcopy(master)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(False)
        if not (kept and re.search(kept.replace("*", ".*"), name)):
            parameter.data = parameter.data.to(dtype)
    return network


@torch.no_grad()
def take_over(network: Any, master: Any) -> None:
    """Let a copy take over the master's weights, in place."""
    torch._foreach_copy_(list(network.parameters()), [p.detach() for p in master.parameters()])
