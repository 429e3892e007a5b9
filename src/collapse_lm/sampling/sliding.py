"""Decoding passes without a cache: a sliding context whose positions start at 0.

A cache is exact only while a sequence fits the block: once it has grown past it, all
positions shift at every token, and each pass reads the whole block again.

Shapes: B sequences, R tokens, V vocabulary.
"""

import torch
from torch import Tensor

from collapse_lm.inference import Network


class SlidingDecoder:
    """Sequences of which only the last `block_size` tokens are seen."""

    def __init__(self, network: Network, batch: int, block_size: int) -> None:
        self._network = network
        self._block_size = block_size
        self._cache = network.new_cache(batch, block_size)
        self._ids_BR: Tensor | None = None
        self.passes = 0

    def append(self, ids_BR: Tensor) -> Tensor:
        """Feed tokens; return the logits (B, V) for the token after the last of them."""
        self.passes += 1
        before = self._ids_BR
        seen_BR = ids_BR if before is None else torch.cat([before, ids_BR], dim=1)
        self._ids_BR = seen_BR[:, -self._block_size :]
        if seen_BR.shape[1] <= self._block_size:
            hidden_BRD = self._network.hidden(ids_BR, self._cache)
        else:
            hidden_BRD = self._network.hidden(self._ids_BR, last=1)
        return self._network.logits(hidden_BRD[:, -1])
