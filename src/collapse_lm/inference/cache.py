"""Keys and values of the tokens before, and where the new tokens of a pass stand.

Shapes: B sequences, R new tokens, G key-value heads, d head width, S cached tokens.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


class SlotCache:
    """Keys and values of B sequences, which may differ in length, allocated once.

    Attributes:
        lengths: tokens held of each sequence.
        keys, values: one (B, G, capacity, d) tensor per layer.
    """

    def __init__(
        self, batch: int, capacity: int, layers: int, heads: int, width: int, like: Tensor
    ) -> None:
        shape = (batch, heads, capacity, width)
        self.lengths = [0] * batch
        self.keys = [like.new_zeros(shape) for _ in range(layers)]
        self.values = [like.new_zeros(shape) for _ in range(layers)]

    def rewind(self, lengths: Sequence[int]) -> None:
        """Keep only the first `lengths[b]` tokens of sequence b."""
        self.lengths = list(lengths)


class Positions:
    """Where the new tokens of one pass stand, and what each of them may see."""

    def __init__(self, starts: Sequence[int], new: int, device: torch.device) -> None:
        self.starts = starts
        self.new = new
        self.is_even = len(set(self.starts)) == 1
        self.end = max(self.starts) + new
        steps_R = torch.arange(new, device=device)
        self.index_BR = torch.tensor(self.starts, device=device)[:, None] + steps_R
        self.is_causal = self.end == new and new > 1
        self.rope: tuple[Tensor, Tensor] | None = None  # set by architectures that rotate
        self.last = new  # how many of each sequence are asked for; set before the last block

    @cached_property
    def mask(self) -> Tensor | None:
        """What each new token may see, (B, 1, R, S); None where no mask is needed."""
        if self.is_causal or (self.is_even and self.new == 1):
            return None
        seen_S = torch.arange(self.end, device=self.index_BR.device)
        return (seen_S <= self.index_BR[..., None])[:, None]

    def asked(self, rows_N: Tensor) -> Tensor:
        """Of rows (B x R, ...) the last of each sequence, as many as are asked for."""
        if self.last >= self.new:
            return rows_N
        return rows_N.view(-1, self.new, *rows_N.shape[1:])[:, -self.last :].flatten(0, 1)

    def store(self, slots_BGSd: Tensor, new_BGRd: Tensor) -> Tensor:
        """Write new keys or values to their slots; return all up to the longest sequence."""
        if self.is_even:
            slots_BGSd[:, :, self.starts[0] : self.end] = new_BGRd
        else:
            for row, start in enumerate(self.starts):
                slots_BGSd[row, :, start : start + self.new] = new_BGRd[row]
        return slots_BGSd[:, :, : self.end]
