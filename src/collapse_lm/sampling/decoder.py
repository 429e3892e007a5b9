"""Incremental forward passes of a causal language model over growing sequences.

Works for any causal LM of transformers. Counts its forward passes. Knows nothing of
how a token is chosen.

Shapes: B sequences, R new tokens, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor


class CachedDecoder:
    """Sequences under a KV cache: each pass feeds only the new tokens."""

    def __init__(self, network: Any) -> None:
        from transformers.cache_utils import DynamicCache

        self._network = network
        self._cache = DynamicCache(config=network.config)
        self.passes = 0

    @torch.inference_mode()
    def append(self, ids_BR: Tensor) -> Tensor:
        """Feed tokens; return the logits (B, V) for the token after the last of them."""
        self.passes += 1
        output = self._network(
            input_ids=ids_BR, past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV


class SlidingDecoder:
    """Sequences of which only the last `block_size` tokens are seen, positions from 0.

    A cache is exact only while the sequence fits the block, as all positions shift
    once it has grown past it; from there on each pass reads the whole block.
    """

    def __init__(self, network: Any, block_size: int) -> None:
        self._network = network
        self._block_size = block_size
        self._cached = CachedDecoder(network)
        self._ids_BR: Tensor | None = None
        self._passes = 0

    @property
    def passes(self) -> int:
        """Forward passes so far."""
        return self._cached.passes + self._passes

    @torch.inference_mode()
    def append(self, ids_BR: Tensor) -> Tensor:
        """Feed tokens; return the logits (B, V) for the token after the last of them."""
        before = self._ids_BR
        self._ids_BR = ids_BR if before is None else torch.cat([before, ids_BR], dim=1)
        if self._ids_BR.shape[1] <= self._block_size:
            return self._cached.append(ids_BR)
        self._passes += 1
        self._ids_BR = self._ids_BR[:, -self._block_size :]
        output = self._network(input_ids=self._ids_BR, use_cache=False, logits_to_keep=1)
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV
