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
from collapse_lm.inference.reading import GenericCache, Paths, Reader
from collapse_lm.models.own_code import is_out_of_memory, told
from collapse_lm.models.trial import is_half, probe_ids

# What passes for rounding: so many times what the length of a plain pass changes by itself,
# within bounds, as a share of the norm of a position's state. Over the families of
# transformers float32 rounds by 6e-6 at most; positions, masks or states that are wrong
# differ by 1e-4 and more.
_TIMES, _LEAST, _MOST = 30, 3e-5, 1e-3
_COARSER = 300  # times so much for a network that its caller holds in bfloat16
_TOKENS, _ROWS = 12, 2
_ALONE = 5  # tokens that are fed one by one
_PAST = 3  # tokens past the edge of a window
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
    slack = _rounding(forward, ids_BS, plain_BSD)

    def is_near(way: Way, paths: Paths) -> bool:
        found = _deviations(way, Reader(forward, paths), ids_BS, plain_BSD)
        return float(found.max()) < slack

    can_be_told = forward.takes_positions and is_near(_told_positions, Paths())
    for positions in (True, False) if can_be_told else (False,):
        tried = Paths(cache=True, positions=positions)
        if is_near(_by_one, tried) and is_near(_after_many, tried):
            can_drop = _holds_tokens(Reader(forward, tried).new_cache(_TOKENS))
            can_drop = can_drop and is_near(_after_a_drop, tried)
            return Paths(cache=True, positions=positions, rewind=can_drop)
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
    is_end = way in (_after_many, _after_a_drop)
    wanted_BTD = (plain_BSD[:, -count:] if is_end else plain_BSD[:, :count]).double()
    if found_BTD.shape != wanted_BTD.shape:
        return torch.tensor([math.inf])
    shares_BT = (found_BTD - wanted_BTD).norm(dim=-1) / wanted_BTD.norm(dim=-1)
    return torch.nan_to_num(shares_BT, math.inf, posinf=math.inf)


def _by_one(reader: Reader, ids_BS: Tensor) -> Tensor:
    """From the first token on, each alone; others are read meanwhile, with a cache and without.

    Some models keep part of their state in their modules, where it would be disturbed.
    """
    cache, other = (reader.new_cache(ids_BS.shape[1]) for _ in range(2))
    states = []
    for ids_B1 in torch.split(ids_BS[:, :_ALONE], 1, dim=1):
        states.append(reader.read(ids_B1, cache))
        reader.read(ids_B1.flip(0), other)
    reader.read(ids_BS.flip(1), None)
    return torch.cat([*states, reader.read(ids_BS[:, _ALONE : _ALONE + 1], cache)], dim=1)


def _after_many(reader: Reader, ids_BS: Tensor) -> Tensor:
    """Many tokens at once, then each alone."""
    cache, many = reader.new_cache(ids_BS.shape[1]), max(1, ids_BS.shape[1] - _ALONE)
    parts = [ids_BS[:, :many], *torch.split(ids_BS[:, many:], 1, dim=1)]
    return torch.cat([reader.read(part, cache) for part in parts if part.numel()], 1)


def _after_a_drop(reader: Reader, ids_BS: Tensor) -> Tensor:
    """Several tokens after many, some of them dropped, and again."""
    (batch, length), many = ids_BS.shape, max(1, ids_BS.shape[1] - _ALONE)
    cache = reader.new_cache(length + _ALONE)
    first = reader.read(ids_BS[:, :many], cache)
    reader.read(ids_BS[:, : length - many].flip(1), cache)  # other tokens
    cache.rewind([many] * batch)
    reader.read(ids_BS[:, many:], cache)
    kept = many + (length - many) // 2
    cache.rewind([kept] * batch)
    again = reader.read(ids_BS[:, kept:], cache)
    return again if kept < length else first


def _told_positions(reader: Reader, ids_BS: Tensor) -> Tensor:
    """All tokens at once, counted from 0."""
    return reader.forward(ids_BS, start=0)


def _rounding(forward: Forward, ids_BS: Tensor, plain_BSD: Tensor) -> float:
    """Distance up to which two passes over the same tokens count as equal."""

    def shorter(reader: Reader, ids_BS: Tensor) -> Tensor:
        return reader.forward(ids_BS[:, : max(1, ids_BS.shape[1] - 1)])

    found = float(_deviations(shorter, Reader(forward, Paths()), ids_BS, plain_BSD).max())
    coarser = _COARSER if is_half(forward.network) else 1
    return min(max(coarser * _LEAST, _TIMES * found), coarser * _MOST)


def _holds_tokens(cache: GenericCache) -> bool:
    """True where every layer's cache simply holds all tokens."""
    from transformers.cache_utils import DynamicLayer

    layers = cache.cache.layers if cache.cache is not None else ()
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _probe(forward: Forward) -> Tensor:
    """Token ids (B, S) that reach past the edge of a window, where that is near."""
    config: Any = forward.network.config.get_text_config(decoder=True)
    edges = [getattr(config, name, None) for name in _WINDOWS]
    near = [edge for edge in edges if isinstance(edge, int) and 0 < edge <= _NEAR]
    return probe_ids(forward.network, _ROWS, max([_TOKENS, *(edge + _PAST for edge in near)]))
