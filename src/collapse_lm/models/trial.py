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
_PLACES = 4096  # of a weight; a pass that changes weights scales whole tensors
# Of the norm; over the families of transformers float32 rounds by 2e-6 at most. A network that
# the caller holds may be in bfloat16.
_SLACK, _SLACK_IN_HALF = 1e-4, 0.05
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
    """Feed two texts that differ in their last token, and the beginning of one of them.

    Raises:
        UserError: for a model whose code fails, whose weights the pass changes, or where
            what follows changes what it predicted before.
    """
    ids_2S = probe_ids(network, 1).repeat(2, 1)
    ids_2S[1, -1] = ids_2S[1, 0]
    shorter = max(1, ids_2S.shape[1] - 3)
    before = _sums(network)
    with own_code(reference, "reading tokens"), torch.inference_mode():
        whole, other = network(input_ids=ids_2S, use_cache=False).logits[:, :-1].double()
        (alone,) = network(input_ids=ids_2S[:1, :shorter], use_cache=False).logits.double()
    changed = [name for name, value in _sums(network).items() if value != before[name]]
    if changed:
        raise UserError.single(
            f"model {reference}",
            f"evaluation changes {len(changed)} of its weights ({', '.join(changed[:3])})",
            "weights that only training changes",
        )
    slack = _SLACK_IN_HALF if is_half(network) else _SLACK
    _require_causal(reference, whole, other, slack)
    _require_causal(reference, whole[:shorter], alone[: len(whole)], slack)


def is_half(network: Any) -> bool:
    """True where a network's own numbers are coarser than float32."""
    return next(network.parameters()).dtype not in {torch.float32, torch.float64}


def _require_causal(reference: str, one_SV: Tensor, other_SV: Tensor, slack: float) -> None:
    """Refuse a model that predicts otherwise where only what comes later is another."""
    is_near = bool((one_SV - other_SV).norm() <= slack * one_SV.norm())
    if not is_near and bool(one_SV.isfinite().all()):
        raise UserError.single(
            f"model {reference}",
            "no causal language model: what follows a token changes what it predicted before",
            "a model in which a token sees only those before it",
            'for a BERT that was trained so: "is_decoder": true in its config.json',
        )


def _sums(network: Any) -> Mapping[str, float]:
    """A number of each weight, of its first few thousand places, that changes with them."""
    with torch.no_grad():
        return {
            name: float(p.detach().flatten()[:_PLACES].sum(dtype=torch.float64))
            for name, p in network.named_parameters()
        }
