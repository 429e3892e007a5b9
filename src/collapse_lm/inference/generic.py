"""Any causal language model of transformers, behind the interface of `base.Network`.

In bfloat16 it runs on a copy whose parameters are refreshed in place. Where the
logits are not simply the output head of the last hidden state (soft caps, scales),
the model's own logits stand in for the hidden state.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional

from collapse_lm.inference.base import Cache
from collapse_lm.inference.linear import chunked_nll
from collapse_lm.machine.compute import at_least_float32

Product = Callable[[Tensor, Tensor], Tensor]  # x (N, D), weights (V, D) -> logits (N, V)


class GenericCache:
    """A cache of transformers, or the tokens themselves for a model without one.

    Its sequences have one length.
    """

    def __init__(self, cache: Any | None) -> None:
        self.cache = cache
        self.ids_BS: Tensor | None = None
        self._length = 0

    def feed(self, ids_BR: Tensor) -> Tensor:
        """Note that tokens are fed; return what the model must read."""
        self._length += ids_BR.shape[1]
        if self.cache is not None:
            return ids_BR
        before = ids_BR[:, :0] if self.ids_BS is None else self.ids_BS
        self.ids_BS = torch.cat([before, ids_BR], dim=1)
        return self.ids_BS

    def rewind(self, lengths: Sequence[int]) -> None:
        """Keep only the first tokens; all lengths must be equal."""
        (length,) = set(lengths)
        if length < self._length and self.cache is not None:
            self.cache.crop(length - self._length)
        if self.ids_BS is not None:
            self.ids_BS = self.ids_BS[:, :length]
        self._length = length


class GenericNetwork:
    """A `Network` over the model's own forward pass.

    `product`, where there is one, computes the logits of a plain head without a bias from
    the copy's weights; else they come from the master's.
    """

    takes_ragged = False

    def __init__(self, master: Any, dtype: torch.dtype, product: Product | None = None) -> None:
        self._master = master
        is_copy = dtype != next(master.parameters()).dtype
        self._network = _copy_in(master, dtype) if is_copy else master
        self._product = product
        self._head_is_plain = head_is_plain(self._network)
        self._has_cache = _has_cache(self._network)
        self.can_rewind = not self._has_cache or _can_rewind(self._network)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self._network.device
        return device

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """Return an empty cache."""
        return GenericCache(_dynamic_cache(self._network) if self._has_cache else None)

    @torch.inference_mode()
    def hidden(self, ids_BR: Tensor, cache: Cache | None = None) -> Tensor:
        """Feed tokens; return the last hidden states (B, R, D), or the logits (B, R, V)."""
        assert cache is None or isinstance(cache, GenericCache)
        body = self._network.base_model if self._head_is_plain else self._network
        kept = cache.cache if cache else None
        read_BS = cache.feed(ids_BR) if cache else ids_BR
        output = body(input_ids=read_BS, **({"past_key_values": kept} if kept else {}))
        result: Tensor = output.last_hidden_state if self._head_is_plain else output.logits
        return result[:, -ids_BR.shape[1] :]

    @torch.inference_mode()
    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits (N, V) in at least float32."""
        if not self._head_is_plain:
            return at_least_float32(hidden_ND)
        if self._product is not None:
            return self._product(hidden_ND, self._network.get_output_embeddings().weight)
        master = self._master.get_output_embeddings()
        return functional.linear(hidden_ND.to(master.weight.dtype), master.weight, master.bias)

    @torch.inference_mode()
    def nll(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Return -log p (N,) of the targets in float64."""
        if not self._head_is_plain:
            return chunked_nll(at_least_float32, hidden_ND, targets_N)
        return chunked_nll(self._network.get_output_embeddings(), hidden_ND, targets_N)

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


def head_is_plain(network: Any) -> bool:
    """Try whether the logits are the output head of the last hidden state and nothing more."""
    if network not in _HEADS:
        _HEADS[network] = _try_head(network)
    return _HEADS[network]


_HEADS: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@torch.inference_mode()
def _try_head(network: Any) -> bool:
    head = network.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return False
    ids = torch.arange(4, device=network.device)[None]
    output = network.base_model(input_ids=ids, use_cache=False)
    wanted = network(input_ids=ids, use_cache=False).logits
    state: Tensor = output.last_hidden_state
    return state.shape[-1] == head.in_features and bool(torch.equal(head(state), wanted))


def _dynamic_cache(network: Any) -> Any:
    from transformers.cache_utils import DynamicCache

    return DynamicCache(config=network.config)


@torch.inference_mode()
def _has_cache(network: Any) -> bool:
    """Try whether the model keeps its state in a cache of keys and values.

    State-space models keep it elsewhere and would read each new token without its past.
    """
    if "past_key_values" not in inspect.signature(network.forward).parameters:
        return False
    ids = torch.arange(4, device=network.device)[None]
    cache = _dynamic_cache(network)
    network(input_ids=ids[:, :3], past_key_values=cache, use_cache=True)
    if cache.get_seq_length() != 3:
        return False
    last = network(input_ids=ids[:, 3:], past_key_values=cache, use_cache=True).logits[0, -1]
    wanted = network(input_ids=ids, use_cache=False).logits[0, -1]
    return bool((last - wanted).norm() < 0.05 * wanted.norm())


def _can_rewind(network: Any) -> bool:
    """True where every layer's cache simply holds all tokens."""
    from transformers.cache_utils import DynamicLayer

    layers = _dynamic_cache(network).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
