"""Any causal language model of transformers, behind the interface of `base.Network`.

In bfloat16 it runs on a copy whose parameters are refreshed in place. Where the
logits are not simply the output head of the last hidden state (soft caps, scales),
the model's own logits stand in for the hidden state.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from collapse_lm.inference.base import Cache


class GenericCache:
    """A cache of transformers; its sequences have one length."""

    def __init__(self, config: Any) -> None:
        from transformers.cache_utils import DynamicCache

        self.cache = DynamicCache(config=config)
        self._length = 0

    def grow(self, tokens: int) -> None:
        """Note that tokens were fed."""
        self._length += tokens

    def rewind(self, lengths: Sequence[int]) -> None:
        """Keep only the first tokens; all lengths must be equal."""
        (length,) = set(lengths)
        if length < self._length:
            self.cache.crop(length - self._length)
        self._length = length


class GenericNetwork:
    """A `Network` over the model's own forward pass."""

    takes_ragged = False

    def __init__(self, master: Any, dtype: torch.dtype) -> None:
        self._master = master
        is_copy = dtype != next(master.parameters()).dtype
        self._network = _copy_in(master, dtype) if is_copy else master
        self._head_is_plain = _head_is_plain(self._network)
        self.can_rewind = _can_rewind(self._network)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self._network.device
        return device

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """Return an empty cache."""
        return GenericCache(self._network.config)

    @torch.inference_mode()
    def hidden(self, ids_BR: Tensor, cache: Cache | None = None) -> Tensor:
        """Feed tokens; return the last hidden states (B, R, D), or the logits (B, R, V)."""
        assert cache is None or isinstance(cache, GenericCache)
        body = self._network.base_model if self._head_is_plain else self._network
        output = body(
            input_ids=ids_BR,
            past_key_values=cache.cache if cache else None,
            use_cache=cache is not None,
        )
        if cache is not None:
            cache.grow(ids_BR.shape[1])
        result: Tensor = output.last_hidden_state if self._head_is_plain else output.logits
        return result

    @torch.inference_mode()
    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits (N, V), in float32 also from a bfloat16 state."""
        wide = hidden_ND if hidden_ND.dtype == torch.float64 else hidden_ND.float()
        if not self._head_is_plain:
            return wide
        head = self._network.get_output_embeddings()
        bias = None if head.bias is None else head.bias.to(wide.dtype)
        return functional.linear(wide, head.weight.to(wide.dtype), bias)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the master's weights, in place."""
        if self._network is self._master:
            return
        torch._foreach_copy_(
            list(self._network.parameters()), [p.detach() for p in self._master.parameters()]
        )


def _copy_in(master: Any, dtype: torch.dtype) -> Any:
    """Copy a network with parameters of another type; buffers (rotary frequencies) stay."""
    network = copy.deepcopy(master)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(dtype)
    return network


@torch.inference_mode()
def _head_is_plain(network: Any) -> bool:
    """Try whether the logits are the output head of the last hidden state and nothing more."""
    head = network.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return False
    ids = torch.arange(4, device=network.device)[None]
    output = network.base_model(input_ids=ids, use_cache=False)
    wanted = network(input_ids=ids, use_cache=False).logits
    state: Tensor = output.last_hidden_state
    return state.shape[-1] == head.in_features and bool(torch.equal(head(state), wanted))


def _can_rewind(network: Any) -> bool:
    """True where every layer's cache simply holds all tokens."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = DynamicCache(config=network.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
