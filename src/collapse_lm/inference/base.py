"""The interface between a model and those who read its predictions.

Shapes: B sequences, R new tokens of each, D width, V vocabulary, N rows.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Cache(Protocol):
    """Keys and values of B sequences."""

    def rewind(self, lengths: Sequence[int]) -> None:
        """Keep only the first `lengths[b]` tokens of sequence b."""
        ...


class Network(Protocol):
    """A causal language model in the precision of sampling and evaluation.

    Attributes:
        takes_ragged: sequences of one cache may differ in length.
        can_rewind: a cache can drop its newest tokens.
        is_row_exact: a row has the same bits whatever rows lie beside it in a pass.
    """

    takes_ragged: bool
    can_rewind: bool
    is_row_exact: bool

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """Return an empty cache for `batch` sequences of at most `capacity` tokens."""
        ...

    def hidden(self, ids_BR: Tensor, cache: Cache | None = None, last: int = 0) -> Tensor:
        """Feed tokens; return the last hidden states (B, R, D), those that the head reads.

        Args:
            ids_BR: the tokens that are new.
            cache: of the tokens before them.
            last: return the states of only so many tokens, the last of each sequence; 0 of all.
        """
        ...

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits (N, V) for sampling, in at least float32."""
        ...

    def nll(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Return -log p (N,), nats in float64, of the tokens that follow the hidden states.

        For evaluation: the logits, never all of them at once, may be rounded to the
        precision of the weights on the way.
        """
        ...

    def describe(self) -> Mapping[str, str | bool]:
        """How it works, for the manifest: code, weights, cache, speculation."""
        ...

    def copies(self) -> Mapping[int, Tensor]:
        """The bfloat16 copies of linear layers, by the address of the master's weight.

        Each has the shape of the weight, and its values as of the last `refresh`.
        """
        ...

    def refresh(self) -> None:
        """Take over the master's weights. Call it after every optimizer step."""
        ...

    def freeze(self) -> None:
        """Let go of what only `refresh` and `copies` need; both are then not to be called."""
        ...
