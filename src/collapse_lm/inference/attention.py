"""Causal attention over texts without a cache.

torch's fused attention takes nearly three times as long in bfloat16 on a CPU (docs/performance.md).
Blocks of queries see the keys before them in plain batched products, and the query heads of
a key head go along as rows of one product.

Shapes: B sequences, H heads, G key-value heads, r = H / G, S tokens, T of them asked for, d head
width, Q queries of a block, K keys that they see.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 128  # queries of a block


def causal_attention(q_BHTd: Tensor, k_BGSd: Tensor, v_BGSd: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v, (B, H, T, d), where no query sees a later key.

    The queries are those of the last T tokens.
    """
    asked, earlier = q_BHTd.shape[2], k_BGSd.shape[2] - q_BHTd.shape[2]
    if q_BHTd.dtype != torch.bfloat16 or q_BHTd.device.type != "cpu":
        seen_TS = None
        if earlier and asked > 1:
            seen_TS = torch.ones(asked, k_BGSd.shape[2], dtype=torch.bool, device=q_BHTd.device)
            seen_TS = seen_TS.tril(earlier)
        return functional.scaled_dot_product_attention(
            q_BHTd,
            k_BGSd,
            v_BGSd,
            attn_mask=seen_TS,
            is_causal=not earlier,
            enable_gqa=q_BHTd.shape[1] != k_BGSd.shape[1],
        )
    out_BHTd = torch.empty_like(q_BHTd)
    for start in range(0, asked, _BLOCK):
        end = min(start + _BLOCK, asked)
        keys, values = k_BGSd[:, :, : earlier + end], v_BGSd[:, :, : earlier + end]
        out_BHTd[:, :, start:end] = _block(q_BHTd[:, :, start:end], keys, values)
    return out_BHTd


def _block(q_BHQd: Tensor, k_BGKd: Tensor, v_BGKd: Tensor) -> Tensor:
    """Attention of the queries of the last tokens; scores are summed up in float32."""
    (batch, heads, queries, d), (_, groups, seen, _) = q_BHQd.shape, k_BGKd.shape
    rows = heads // groups * queries
    k_ZKd, v_ZKd = (x.reshape(batch * groups, seen, d) for x in (k_BGKd, v_BGKd))
    scores_ZrK = torch.bmm(q_BHQd.reshape(batch * groups, rows, d), k_ZKd.transpose(1, 2))
    scores_BHQK = scores_ZrK.float().mul_(d**-0.5).view(batch, heads, queries, seen)
    scores_BHQK[..., seen - queries :] += _mask(queries)
    shares_BHQK = torch.softmax(scores_BHQK, dim=-1).to(q_BHQd.dtype)
    return torch.bmm(shares_BHQK.view(batch * groups, rows, seen), v_ZKd).view(q_BHQd.shape)


@functools.lru_cache(maxsize=8)
def _mask(queries: int) -> Tensor:
    """Minus infinity where a key is later than a query, else 0."""
    return torch.full((queries, queries), -torch.inf).triu(1)
