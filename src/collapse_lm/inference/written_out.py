"""Passes of GPT-2 and Llama in operations of torch, with a pre-allocated cache.

What transformers spends on a decode step beside the products (casts, mask building,
a cache that grows by concatenation) costs as much as the products themselves at
batch 1. Equality with transformers is tested in float64.

Shapes: B sequences, R new tokens, N = B x R rows, D width, H heads, G key-value
heads, d head width, V vocabulary.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from collapse_lm.inference.architectures import Architecture
from collapse_lm.inference.attention import causal_attention
from collapse_lm.inference.base import Cache
from collapse_lm.inference.cache import Positions, SlotCache
from collapse_lm.inference.linear import CopyLinear, chunked_nll


class FastNetwork:
    """A `Network` over one of the `architectures`."""

    takes_ragged = True
    can_rewind = True
    is_row_exact = False
    _code = "written out in torch"

    def __init__(self, architecture: Architecture) -> None:
        self._arch = architecture
        self._spare: SlotCache | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._arch.example.device

    def describe(self) -> Mapping[str, str | bool]:
        """How it works, for the manifest."""
        dtype = str(self._arch.example.dtype).removeprefix("torch.")
        weights = f"{dtype} copy" if isinstance(self._arch.head, CopyLinear) else dtype
        return {"passes": self._code, "weights": weights, "cache": True, "speculation": True}

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """Return an empty cache; the last one is used again where it is large enough."""
        spare = self._spare
        if spare is None or spare.keys[0].shape[0] != batch or spare.keys[0].shape[2] < capacity:
            arch = self._arch
            size = (len(arch.blocks), arch.kv_heads, arch.head_width)
            spare = self._spare = SlotCache(batch, capacity, *size, arch.example)
        spare.rewind([0] * batch)
        return spare

    @torch.inference_mode()
    def hidden(self, ids_BR: Tensor, cache: Cache | None = None, last: int = 0) -> Tensor:
        """Feed tokens; return the last hidden states (B, R, D), or of the `last` alone."""
        assert cache is None or isinstance(cache, SlotCache)
        if cache is not None:
            return self._pass(ids_BR, cache, 0)[:, -last:]
        return self._pass(ids_BR, None, last)

    def _pass(self, ids_BR: Tensor, cache: SlotCache | None, last: int) -> Tensor:
        """One pass, whose last block asks for the states of the last tokens alone."""
        batch, new = ids_BR.shape
        positions = Positions(cache.lengths if cache else [0] * batch, new, ids_BR.device)

        def attend(layer: int, q_NHd: Tensor, k_NGd: Tensor, v_NGd: Tensor) -> Tensor:
            q_BHRd, k_BGRd, v_BGRd = (
                part.view(batch, -1, *part.shape[1:]).transpose(1, 2)
                for part in (q_NHd, k_NGd, v_NGd)
            )
            if cache is None:
                out_BHRd = causal_attention(q_BHRd, k_BGRd, v_BGRd)
            else:
                k_BGRd = positions.store(cache.keys[layer], k_BGRd)
                v_BGRd = positions.store(cache.values[layer], v_BGRd)
                out_BHRd = functional.scaled_dot_product_attention(
                    q_BHRd,
                    k_BGRd,
                    v_BGRd,
                    attn_mask=positions.mask,
                    is_causal=positions.is_causal,
                    enable_gqa=q_BHRd.shape[1] != k_BGRd.shape[1],
                )
            return out_BHRd.transpose(1, 2).flatten(0, 1).flatten(1)

        x_ND = self._arch.embed(ids_BR, positions, self._arch.example.dtype)
        for layer, part in enumerate(self._arch.blocks):
            if layer == len(self._arch.blocks) - 1:
                positions.last = last or new
            x_ND = self._arch.block(part, x_ND, positions, partial(attend, layer))
        if cache is not None:
            cache.rewind([start + new for start in positions.starts])
        return self._arch.norm_f(x_ND).view(batch, -1, x_ND.shape[-1])

    @torch.inference_mode()
    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits (N, V) in at least float32."""
        return self._arch.head.exact(hidden_ND)

    @torch.inference_mode()
    def nll(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Return -log p (N,) of the targets in float64."""
        return chunked_nll(self._arch.head, hidden_ND, targets_N)

    def copies(self) -> Mapping[int, Tensor]:
        """The bfloat16 copies of linear layers, by the address of the master's weight."""
        arch = self._arch
        linears = (arch.head, *(linear for part in arch.blocks for linear in part.linears))
        return {k: v for linear in linears for k, v in linear.copies().items()}

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the master's weights, in place."""
        arch = self._arch
        norms = [norm for part in arch.blocks for norm in (part.norm_1, part.norm_2)]
        for norm in (*norms, arch.norm_f):
            norm.refresh()
        for linear in (arch.head, *(linear for part in arch.blocks for linear in part.linears)):
            linear.refresh()

    def freeze(self) -> None:
        """Let go of the masters of the blocks, beside the copies that are read in their place."""
        for part in self._arch.blocks:
            for linear in part.linears:
                linear.freeze()
