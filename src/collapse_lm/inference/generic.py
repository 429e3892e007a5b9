"""Any causal language model of transformers, behind the interface of `base.Network`.

In bfloat16 it runs on a copy whose parameters are refreshed in place; where a model's own
code cannot do that, on the master under autocast, and where it cannot do that either, in
the master's precision. Where the logits are not simply the output head of the last hidden
state (soft caps, scales), the model's own logits stand in for the hidden state.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from collapse_lm.inference.base import Cache
from collapse_lm.inference.forward import Forward
from collapse_lm.inference.half import copy_in, take_over
from collapse_lm.inference.linear import chunked_nll
from collapse_lm.inference.paths import distance, find_paths
from collapse_lm.inference.reading import GenericCache, Reader
from collapse_lm.machine.compute import at_least_float32
from collapse_lm.models.own_code import is_out_of_memory, told

Product = Callable[[Tensor, Tensor], Tensor]  # x (N, D), weights (V, D) -> logits (N, V)

_FAR = 0.5  # of the norm: a number format that moves a state so far does not work

_LOG = logging.getLogger(__name__)


class GenericNetwork:
    """A `Network` over the model's own forward pass.

    `product`, where there is one, computes the logits of a plain head without a bias from
    the copy's weights; else they come from the master's.
    """

    takes_ragged = False
    is_row_exact = False

    def __init__(self, master: Any, dtype: torch.dtype, product: Product | None = None) -> None:
        own = Forward(master)
        exact = Reader(own, find_paths(own))
        self._master = master
        self._reader, self._weights = exact, _name(next(master.parameters()).dtype)
        if dtype != next(master.parameters()).dtype:
            self._reader, self._weights = _in_half(exact, dtype) or (exact, self._weights)
        head = self._reader.forward.network.get_output_embeddings()
        is_half = isinstance(head, torch.nn.Linear) and head.weight.dtype == torch.bfloat16
        self._product = product if is_half else None  # a model may keep its head in float32
        self._head_is_plain = self._reader.forward.head_is_plain
        self.can_rewind = exact.paths.rewind or not exact.paths.cache
        _tell(master.config.model_type, exact)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self._master.device
        return device

    def describe(self) -> Mapping[str, str | bool]:
        """How it reads, for the manifest."""
        paths = self._reader.paths
        return {
            "passes": "transformers",
            "weights": self._weights,
            "cache": paths.cache,
            "speculation": self.can_rewind,
        }

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """Return an empty cache."""
        return self._reader.new_cache(capacity)

    @torch.inference_mode()
    def hidden(self, ids_BR: Tensor, cache: Cache | None = None, last: int = 0) -> Tensor:
        """Feed tokens; return the last hidden states (B, R, D), or the logits (B, R, V)."""
        assert cache is None or isinstance(cache, GenericCache)
        return self._reader.read(ids_BR, cache)[:, -last:]

    @torch.inference_mode()
    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits (N, V) in at least float32."""
        if not self._head_is_plain:
            return at_least_float32(hidden_ND)
        if self._product is not None:
            return self._product(hidden_ND, self._head.weight)
        master = self._master.get_output_embeddings()
        return functional.linear(hidden_ND.to(master.weight.dtype), master.weight, master.bias)

    @torch.inference_mode()
    def nll(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Return -log p (N,) of the targets in float64."""
        if not self._head_is_plain:
            return chunked_nll(at_least_float32, hidden_ND, targets_N)
        return chunked_nll(self._head, hidden_ND.to(self._head.weight.dtype), targets_N)

    @property
    def _head(self) -> Any:
        return self._reader.forward.network.get_output_embeddings()

    def copies(self) -> Mapping[int, Tensor]:
        """None: a model's own code may use a weight otherwise than in a product."""
        return {}

    def refresh(self) -> None:
        """Take over the master's weights, in place."""
        if self._reader.forward.network is not self._master:
            take_over(self._reader.forward.network, self._master)

    def freeze(self) -> None:
        """Nothing: its master is read for more than a refresh."""


def _in_half(exact: Reader, dtype: torch.dtype) -> tuple[Reader, str] | None:
    """The first way to work in another number format that works, with its name."""
    master, name = exact.forward.network, _name(dtype)
    ways: dict[str, Callable[[], Forward]] = {
        f"{name} copy": lambda: Forward(copy_in(master, dtype)),
        f"float32 under autocast to {name}": lambda: Forward(master, autocast=dtype),
    }
    for way, make in ways.items():
        try:
            reader = Reader(make(), exact.paths)
            far = distance(reader, exact)
        except Exception as error:  # whatever a model's own code raises
            if is_out_of_memory(error):
                raise
            why = told(error)
        else:
            if far < _FAR:
                return reader, way
            why = f"it lies {far:.0%} off" if far < float("inf") else "its code fails"
        _LOG.info("%s does not work as a %s: %s", master.config.model_type, way, why)
    _LOG.warning("%s is sampled and evaluated in float32: %s fails", master.config.model_type, name)
    return None


def _tell(family: str, exact: Reader) -> None:
    """Say what a model does without."""
    if exact.forward.takes_cache and not exact.paths.cache:
        _LOG.warning(
            "%s is read without a cache, which is exact but slower: with one of transformers "
            "it gives other numbers, or fails",
            family,
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
