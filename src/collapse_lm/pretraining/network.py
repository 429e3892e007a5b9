"""An untrained GPT-2 of a given size.

Source: Radford et al. 2019 and the released code of GPT-2: N(0, .02), the projections
onto the residual stream scaled by 1/sqrt(2 depth), biases 0, norms 1.
"""

import math
from typing import Any

import torch
from torch import nn

from collapse_lm import rng
from collapse_lm.pretraining.recipe import Recipe, Size

_DEVIATION = 0.02


def make_network(size: Size, recipe: Recipe, vocabulary: int, end_token: int) -> Any:
    """Return a GPT-2 of transformers (float32, on the CPU, embeddings tied), initialised.

    The weights depend on the recipe's seed and the size alone.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=recipe.context,
        n_embd=size.width,
        n_layer=size.depth,
        n_head=size.heads,
        activation_function="gelu_pytorch_tanh",  # gelu_new in one operation
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end_token,
        eos_token_id=end_token,
    )
    with torch.random.fork_rng(devices=[]):  # its constructor draws from the global generator
        network = GPT2LMHeadModel(config)
    initialise(network, size.depth, rng.stream(recipe.seed, "init"))
    return network


@torch.no_grad()
def initialise(network: Any, depth: int, generator: torch.Generator) -> None:
    """Draw the matrices, in the order of their names; biases become 0 and norms 1."""
    residual = _DEVIATION / math.sqrt(2 * depth)
    for name, parameter in sorted(network.named_parameters()):
        if parameter.dim() >= 2:
            deviation = residual if name.endswith("c_proj.weight") else _DEVIATION
            parameter.normal_(0.0, deviation, generator=generator)
        else:
            nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)


def count_parameters(network: Any) -> dict[str, int]:
    """Count parameters, tied ones once: all, those of the embeddings, and the others."""
    total = sum(p.numel() for p in network.parameters())
    body = network.base_model
    embeddings = body.wte.weight.numel() + body.wpe.weight.numel()
    return {"total": total, "embeddings": embeddings, "without_embeddings": total - embeddings}
