"""Tokens fed to a model of transformers bit by bit, in the ways that it gets right.

Shapes: B sequences, R new tokens, S all tokens, D width (or vocabulary, see `Forward`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from collapse_lm.inference.forward import Forward

_MOVING = {"dynamic", "longrope"}  # rotations that change for all tokens as a sequence grows


@dataclass(frozen=True)
class Paths:
    """What a model's own code gets right (see `paths`).

    Attributes:
        cache: it goes on from a cache of transformers.
        positions: with a cache, it is told where tokens stand.
        rewind: the cache can drop its newest tokens, and take several at once.
    """

    cache: bool = False
    positions: bool = False
    rewind: bool = False


class GenericCache:
    """A cache of transformers, or the tokens themselves for a model without one.

    Its sequences have one length.
    """

    def __init__(self, cache: Any | None) -> None:
        self.cache = cache
        self.length = 0
        self._ids_BS: Tensor | None = None

    def feed(self, ids_BR: Tensor) -> Tensor:
        """Note that tokens are fed; return what the model must read."""
        self.length += ids_BR.shape[1]
        if self.cache is not None:
            return ids_BR
        before = ids_BR[:, :0] if self._ids_BS is None else self._ids_BS
        self._ids_BS = torch.cat([before, ids_BR], dim=1)
        return self._ids_BS

    def rewind(self, lengths: Sequence[int]) -> None:
        """Keep only the first tokens; all lengths must be equal."""
        (length,) = set(lengths)
        if length < self.length and self.cache is not None:
            self.cache.crop(length - self.length)
        if self._ids_BS is not None:
            self._ids_BS = self._ids_BS[:, :length]
        self.length = length


@dataclass(frozen=True)
class Reader:
    """Reads new tokens after those of a cache."""

    forward: Forward
    paths: Paths

    def new_cache(self, capacity: int) -> GenericCache:
        """Return an empty cache for sequences of at most `capacity` tokens."""
        config = self.forward.network.config
        if not self.paths.cache or capacity > _steady_length(config):
            return GenericCache(None)
        return GenericCache(dynamic_cache(config))

    def read(self, ids_BR: Tensor, cache: GenericCache | None) -> Tensor:
        """Feed tokens; return their last hidden states, or logits (B, R, D)."""
        if cache is None:
            return self.forward(ids_BR)
        start = cache.length if self.paths.positions else None
        read_BS = cache.feed(ids_BR)
        if cache.cache is None:
            return self.forward(read_BS)[:, -ids_BR.shape[1] :]
        return self.forward(read_BS, cache.cache, start)


def dynamic_cache(config: Any) -> Any:
    """An empty cache of transformers, of the kinds of layers that a configuration names."""
    from transformers.cache_utils import DynamicCache

    return DynamicCache(config=config)


def _steady_length(config: Any) -> float:
    """Longest sequence up to which the keys of a token do not depend on what follows it.

    Some rotary positions change for all tokens once a sequence is longer than those of
    the model's first training; keys that were kept are then of the former kind.
    """
    text = config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = rope.values() if all(isinstance(v, dict) for v in rope.values()) else [rope]
    limits = [
        kind.get("original_max_position_embeddings") or text.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") in _MOVING
    ]
    return min(limits, default=float("inf"))
