"""Which ways of reading a model's own code gets right, tried before they are used.

A cache is right where it gives what a plain pass gives, to the rounding of the precision:
one token after one, one after many, several after many, and after tokens were dropped. A
model that gets one of them wrong is read without it, which takes longer and is exact.

Shapes: B sequences, S tokens, D width (or vocabulary, see `Forward`).
"""

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from collapse_lm.inference.forward import Forward
from collapse_lm.inference.reading import Paths, Reader, dynamic_cache
from collapse_lm.models.own_code import is_out_of_memory, told
from collapse_lm.models.trial import probe_ids

# Largest distance of a position's state from that of a plain pass, as a share of its norm.
# Over the families of transformers float32 rounds by at most 2e-6; positions or masks that
# are wrong differ by 1e-2 and more.
_SLACK = 1e-4
_TOKENS, _ROWS = 16, 2
_PAST = 6  # tokens past the edge of a window
_NEAR = 256  # a longer window is not gone past: that would take as long as a run
_WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size")

Way = Callable[[Reader, Tensor], Tensor]  # ids (B, S) -> states of the first or last tokens

_LOG = logging.getLogger(__name__)


def find_paths(forward: Forward) -> Paths:
    """Try the ways of reading; raises only what a plain pass raises."""
    if not forward.takes_cache:
        return Paths()
    ids_BS = _probe(forward)
    plain_BSD = forward(ids_BS)
    told_so = [True, False] if _takes_positions(forward, ids_BS, plain_BSD) else [False]
    for positions in told_so:
        reader = Reader(forward, Paths(cache=True, positions=positions))
        is_right = [
            float(_deviations(way, reader, ids_BS, plain_BSD).max()) < _SLACK
            for way in (_by_one, _after_many, _after_a_drop)[: 3 if _drops_tokens(forward) else 2]
        ]
        if all(is_right[:2]):
            return Paths(cache=True, positions=positions, rewind=all(is_right[2:] or [False]))
    return Paths()


def distance(reader: Reader, like: Reader) -> float:
    """How far a reader in another number format lies from one that is right.

    The largest over the ways of reading that are used; of each the median over positions,
    as one position may well be far off where rounding sends a token to another expert.
    """
    ids_BS = _probe(like.forward)
    plain_BSD = like.forward(ids_BS)
    ways: list[Way] = [lambda reader, ids: reader.forward(ids)]
    if like.paths.cache:
        ways += [_by_one, _after_many]
    if like.paths.rewind:
        ways.append(_after_a_drop)
    found = [_deviations(way, reader, ids_BS, plain_BSD) for way in ways]
    return max(float(each.median() if each.isfinite().all() else math.inf) for each in found)


def _deviations(way: Way, reader: Reader, ids_BS: Tensor, plain_BSD: Tensor) -> Tensor:
    """Distance of each position from the plain pass, as a share of its norm.

    Infinite for a way that is not to be had: one that raises, or gives other shapes.
    """
    try:
        found_BTD = way(reader, ids_BS).double()
    except Exception as error:  # whatever a model's own code raises
        if is_out_of_memory(error):
            raise
        _LOG.debug("%s: %s", reader.forward.network.config.model_type, told(error))
        return torch.tensor([math.inf])
    count = found_BTD.shape[1]
    wanted_BTD = (plain_BSD[:, :count] if way is _by_one else plain_BSD[:, -count:]).double()
    if found_BTD.shape != wanted_BTD.shape:
        return torch.tensor([math.inf])
    shares_BT = (found_BTD - wanted_BTD).norm(dim=-1) / wanted_BTD.norm(dim=-1)
    return torch.nan_to_num(shares_BT, math.inf, posinf=math.inf)


def _by_one(reader: Reader, ids_BS: Tensor) -> Tensor:
    """From the first token on, each alone."""
    cache = reader.new_cache(ids_BS.shape[1])
    alone = torch.split(ids_BS[:, :_PAST], 1, dim=1)
    return torch.cat([reader.read(ids_B1, cache) for ids_B1 in alone], 1)


def _after_many(reader: Reader, ids_BS: Tensor) -> Tensor:
    """Many tokens at once, then each alone."""
    cache, many = reader.new_cache(ids_BS.shape[1]), max(1, ids_BS.shape[1] - 2 * _PAST)
    parts = [ids_BS[:, :many], *torch.split(ids_BS[:, many:], 1, dim=1)]
    return torch.cat([reader.read(part, cache) for part in parts if part.numel()], 1)


def _after_a_drop(reader: Reader, ids_BS: Tensor) -> Tensor:
    """Several tokens after many, some of them dropped, and again."""
    (batch, length), many = ids_BS.shape, max(1, ids_BS.shape[1] - _PAST)
    cache = reader.new_cache(length + _PAST)
    first = reader.read(ids_BS[:, :many], cache)
    reader.read(ids_BS[:, : length - many].flip(1), cache)  # other tokens
    cache.rewind([many] * batch)
    reader.read(ids_BS[:, many:], cache)
    kept = many + (length - many) // 2
    cache.rewind([kept] * batch)
    again = reader.read(ids_BS[:, kept:], cache)
    return again if kept < length else first


def _takes_positions(forward: Forward, ids_BS: Tensor, plain_BSD: Tensor) -> bool:
    """True where the model can be told positions, and counts them from 0 as we do."""

    def told_all(reader: Reader, ids_BS: Tensor) -> Tensor:
        return reader.forward(ids_BS, start=0)

    reader = Reader(forward, Paths())
    found = _deviations(told_all, reader, ids_BS, plain_BSD) if forward.takes_positions else None
    return found is not None and float(found.max()) < _SLACK


def _drops_tokens(forward: Forward) -> bool:
    """True where every layer's cache simply holds all tokens."""
    from transformers.cache_utils import DynamicLayer

    layers = dynamic_cache(forward.network.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _probe(forward: Forward) -> Tensor:
    """Token ids (B, S) that reach past the edge of a window, where that is near."""
    config: Any = forward.network.config.get_text_config(decoder=True)
    edges = [getattr(config, name, None) for name in _WINDOWS]
    near = [edge for edge in edges if isinstance(edge, int) and 0 < edge <= _NEAR]
    return probe_ids(forward.network, _ROWS, max([_TOKENS, *(edge + _PAST for edge in near)]))
