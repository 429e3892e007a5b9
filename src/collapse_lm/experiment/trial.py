"""The training pass is tried once, before anything is written: a model's own code may fail at it.

Shapes: S tokens.
"""

import logging
from dataclasses import replace

import torch
from torch.nn import functional

from collapse_lm.machine.compute import Compute
from collapse_lm.models.load import LanguageModel
from collapse_lm.models.own_code import is_out_of_memory, own_code, told
from collapse_lm.models.trial import probe_ids

_LOG = logging.getLogger(__name__)


def compute_of_steps(model: LanguageModel, compute: Compute) -> Compute:
    """Device and precision of the training step: float32 where autocast to bfloat16 fails.

    Raises:
        UserError: for a model whose code cannot be trained as a run does it.
    """
    try:
        training_pass(model, compute)
    except Exception as error:  # whatever a model's own code raises
        if is_out_of_memory(error):
            raise
        exact = replace(compute, precision="float32")
        with own_code(model.provenance.reference, "a training pass"):
            training_pass(model, exact)
        family, why = model.network.config.model_type, told(error)
        _LOG.warning("%s is trained in float32: autocast to bfloat16 fails (%s)", family, why)
        return exact
    return compute


def training_pass(model: LanguageModel, compute: Compute) -> None:
    """The gradient of the last token of a short text, which is dropped again."""
    ids_1S = probe_ids(model.network, 1)
    try:
        with compute.autocast():
            output = model.network(input_ids=ids_1S[:, :-1], use_cache=False, logits_to_keep=1)
            loss = functional.cross_entropy(output.logits[:, -1].float(), ids_1S[:, -1])
        torch.autograd.backward(loss)
    finally:
        model.network.zero_grad(set_to_none=True)
