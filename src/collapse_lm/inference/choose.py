"""Choose the implementation and the number format of a model's inference passes.

Only here is it decided whether machine code runs, so only then is numba imported.
"""

from typing import Any

import torch

from collapse_lm.inference.architectures import GPT2, Architecture, Llama
from collapse_lm.inference.as_configured import is_as_configured
from collapse_lm.inference.base import Network
from collapse_lm.inference.cpu import requirements
from collapse_lm.inference.generic import GenericNetwork, Product
from collapse_lm.inference.linear import CopyLinear, Linear, SplitLinear
from collapse_lm.inference.written_out import FastNetwork
from collapse_lm.machine.compute import Precision

_FAMILIES = (GPT2, Llama)


def is_written_out(config: Any) -> bool:
    """True for a configuration of transformers whose passes are our own code."""
    return any(family.fits(config) for family in _FAMILIES)


def reads_compiled(master: Any) -> bool:
    """True where samples would be drawn on compiled passes over bfloat16 weights."""
    own, family = next(master.parameters()).dtype, _family(master)
    return family is not None and requirements.could_run(family(master, own, Linear))


def _family(master: Any) -> type[GPT2] | type[Llama] | None:
    """The family whose passes, written out, are those of a network; None where none is."""
    if not is_written_out(master.config) or not is_as_configured(master):
        return None
    return next(family for family in _FAMILIES if family.fits(master.config))


def inference_network(master: Any, precision: Precision, *, decodes: bool = False) -> Network:
    """Return the network that samples and is evaluated in place of the master.

    In float32 (or for a float64 master) it reads the master's weights themselves; in
    bfloat16 it holds a copy of them, which `refresh` brings up to date (or does what
    `generic` says, where a model's code cannot do that). What the code of the master raises
    while it is tried passes through.

    Args:
        master: of transformers.
        precision: of the passes.
        decodes: true where it draws tokens, one by one: in float32 that is worth a copy of the
            weights for the kernels, where they run.
    """
    own = next(master.parameters()).dtype
    dtype = torch.bfloat16 if precision == "bfloat16" else own
    is_copy = dtype != own
    family = _family(master)
    if family is None:
        return GenericNetwork(master, dtype, _head_product(master) if is_copy else None)
    if (
        decodes
        and not is_copy
        and requirements.can_run_in_float32(family(master, dtype, Linear), master.num_parameters())
    ):
        return _compiled(family(master, dtype, SplitLinear))
    return _written_out(family(master, dtype, CopyLinear if is_copy else Linear))


def _written_out(architecture: Architecture) -> Network:
    """Decode on the kernels where they can run, on torch's operations elsewhere."""
    return (
        _compiled(architecture) if requirements.can_run(architecture) else FastNetwork(architecture)
    )


def _compiled(architecture: Architecture) -> Network:
    from collapse_lm.inference.cpu.network import CompiledNetwork

    return CompiledNetwork(architecture)


def _head_product(master: Any) -> Product | None:
    """Return the kernels' product where it can read a bfloat16 copy of the head."""
    head = master.get_output_embeddings()
    is_product = isinstance(head, torch.nn.Linear) and head.bias is None
    if not (is_product and requirements.can_multiply(head.weight)):
        return None
    from collapse_lm.inference.cpu.passes import matrix_product

    return matrix_product
