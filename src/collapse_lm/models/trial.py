"""The first pass of a model that was loaded: it must run, change nothing, and be causal.

Shapes: B sequences, S tokens.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from collapse_lm.errors import UserError
from collapse_lm.models.embeddings import embedding_rows
from collapse_lm.models.own_code import own_code
from collapse_lm.models.positions import max_positions

_TOKENS = 16
_SLACK = 1e-4  # of the norm; float32 rounds by 2e-6 at most over the families of transformers
_RESCALE = "rescale_every"  # RWKV halves weights for evaluation, in place, where it is not 0


def keep_weights_still(network: Any) -> dict[str, Any]:
    """Switch off what would change weights in evaluation; return the configuration's own values.

    RWKV does so against overflow in float16, by powers of two that it takes back as it goes,
    so what it computes stays the same.
    """
    given = getattr(network.config, _RESCALE, 0)
    if not given:
        return {}
    network.config.rescale_every = 0
    return {_RESCALE: given}


def probe_ids(network: Any, batch: int, tokens: int = _TOKENS) -> Tensor:
    """Token ids (B, S) that differ from one another, as far as a vocabulary goes.

    S is at most what the model has positions for.
    """
    rows, limit = embedding_rows(network), max_positions(network.config)
    numbers = torch.arange(min(tokens, limit or tokens)) * 37 + torch.arange(batch)[:, None] * 11
    return (1 + numbers % max(1, rows - 1)).clamp(max=rows - 1).to(network.device)


def try_once(reference: str, network: Any) -> None:
    """Feed two texts that differ in their last token.

    Raises:
        UserError: for a model whose code fails, whose weights the pass changes, or that
            lets a later token change what it predicted before.
    """
    ids_2S = probe_ids(network, 1).repeat(2, 1)
    ids_2S[1, -1] = ids_2S[1, 0]
    before = _sums(network)
    with own_code(reference, "reading tokens"), torch.inference_mode():
        logits_2SV = network(input_ids=ids_2S, use_cache=False).logits[:, :-1].double()
    changed = [name for name, value in _sums(network).items() if value != before[name]]
    if changed:
        raise UserError.single(
            f"model {reference}",
            f"evaluation changes {len(changed)} of its weights ({', '.join(changed[:3])})",
            "weights that only training changes",
        )
    seen, other = logits_2SV
    if not bool((seen - other).norm() <= _SLACK * seen.norm()) and bool(seen.isfinite().all()):
        raise UserError.single(
            f"model {reference}",
            "no causal language model: a later token changes what it predicts before",
            "a model in which a token sees only those before it",
            "where it has such a mode, set is_decoder to true in its config.json",
        )


def _sums(network: Any) -> Mapping[str, float]:
    """A number of each weight that changes with it."""
    with torch.no_grad():
        return {name: float(p.sum(dtype=torch.float64)) for name, p in network.named_parameters()}
