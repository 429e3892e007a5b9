"""One pass of a model of transformers, called as its own forward wants to be called.

Shapes: B sequences, R new tokens, D width, V vocabulary.
"""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from collapse_lm.models.own_code import is_out_of_memory


class Forward:
    """Token ids in, last hidden states out; or logits, where these are more than a head of them.

    Attributes:
        network: whose pass it is.
        head_is_plain: the logits are the output head of what a pass returns.
        takes_cache: it can be given keys and values of transformers.
        takes_positions: it can be told where tokens stand.
    """

    def __init__(self, network: Any, autocast: torch.dtype | None = None) -> None:
        self.network = network
        self.head_is_plain = head_is_plain(network)
        self._autocast = autocast
        self._body = network.base_model if self.head_is_plain else network
        parameters = inspect.signature(self._body.forward).parameters
        self.takes_cache = "past_key_values" in parameters
        self.takes_positions = "position_ids" in parameters

    @torch.inference_mode()
    def __call__(self, ids_BR: Tensor, cache: Any = None, start: int | None = None) -> Tensor:
        """Return the last hidden states (B, R, D), or the logits (B, R, V).

        Args:
            ids_BR: the tokens that are new.
            cache: of transformers, for the tokens before them.
            start: tokens before them, where positions are told.
        """
        told: dict[str, Any] = {"use_cache": cache is not None}
        if cache is not None:
            told["past_key_values"] = cache
        if start is not None:
            steps_R = torch.arange(start, start + ids_BR.shape[1], device=ids_BR.device)
            told["position_ids"] = steps_R.expand(len(ids_BR), -1)
        with self._precision():
            output = self._body(input_ids=ids_BR, **told)
        result: Tensor = output.last_hidden_state if self.head_is_plain else output.logits
        return result

    def _precision(self) -> AbstractContextManager[object]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self.network.device.type, dtype=self._autocast)


def head_is_plain(network: Any) -> bool:
    """Try whether the logits are the output head of the last hidden state and nothing more."""
    if network not in _HEADS:
        with in_evaluation(network):  # two passes that drop would differ, and use up random numbers
            _HEADS[network] = _try_head(network)
    return _HEADS[network]


@contextmanager
def in_evaluation(network: Any) -> Iterator[None]:
    """Keep a network from dropping, for the body of a with statement."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


_HEADS: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@torch.inference_mode()
def _try_head(network: Any) -> bool:
    head = network.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return False
    ids = torch.arange(4, device=network.device)[None]
    wanted = network(input_ids=ids, use_cache=False).logits
    try:
        output = network.base_model(input_ids=ids, use_cache=False)
    except Exception as error:  # of some, the body alone is not meant to be called
        if is_out_of_memory(error):
            raise
        return False
    state: Tensor | None = getattr(output, "last_hidden_state", None)
    if state is None or state.shape[-1] != head.in_features:
        return False
    found = head(state.to(head.weight.dtype))  # a residual in float32 is cast for the head
    return bool(torch.equal(found.double(), wanted.double()))
