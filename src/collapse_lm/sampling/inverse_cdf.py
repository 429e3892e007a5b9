"""Pick tokens by inverse CDF: one uniform number per position decides one token.

The token is the one whose interval of the cumulative distribution (filtered, in
token-id order) holds the number. Whoever computes the same logits and reads the
same uniform picks the same token, which is what makes speculation exact. Pure.

Shapes: N rows (positions or batch), V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from collapse_lm.machine.compute import at_least_float32


@dataclass(frozen=True)
class Filters:
    """Temperature, then top-k, top-p and min-p, in the order of transformers.

    Attributes:
        temperature: divides the logits; 0 is greedy.
        top_k: keep the k most probable tokens; None keeps all.
        top_p: keep the smallest set whose probability reaches p; None keeps all.
        min_p: keep what has at least this share of the probability of the most probable
            token (Nguyen et al. 2024); 0 keeps all.
        excluded: ids that are never drawn.
        repetition_penalty: of tokens that were there before (see `penalised`, which comes before
            all of these); 1 has none.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float = 0.0
    excluded: tuple[int, ...] = ()
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Choices:
    """What a token is drawn from.

    Attributes:
        weights_NK: unnormalised probabilities, in the order of the token ids.
        ids_NK: their token ids; None where they are all ids from 0 on.
    """

    weights_NK: Tensor
    ids_NK: Tensor | None = None

    def pick(self, uniform_N: Tensor) -> Tensor:
        """Return the token ids (N,) that the uniforms in [0, 1) pick."""
        index_N = _invert(self.weights_NK, uniform_N)
        if self.ids_NK is None:
            return index_N
        return self.ids_NK.gather(-1, index_N[:, None]).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return the Shannon entropy (N,) in nats of the distribution that is drawn from."""
        total_N: Tensor = self.weights_NK.sum(dim=-1)
        entr_N: Tensor = torch.special.entr(self.weights_NK).sum(dim=-1)
        return total_N.log() + entr_N / total_N


def choices(logits_NV: Tensor, filters: Filters) -> Choices:
    """Filter logits to what can be drawn."""
    logits_NV = _without(logits_NV, filters.excluded)
    if filters.temperature == 0:
        best_N1 = logits_NV.argmax(dim=-1, keepdim=True)
        return Choices(torch.ones_like(best_N1, dtype=torch.float32), best_N1)
    candidates = _only_top_k(logits_NV, filters.top_k)
    if candidates is None:
        return Choices(_weights(logits_NV, filters))
    logits_NK, ids_NK = candidates
    return Choices(_weights(logits_NK, replace(filters, top_k=None)), ids_NK)


def penalised(logits_V: Tensor, ids: Sequence[int], penalty: float) -> Tensor:
    """Make tokens less likely to come again (Keskar et al. 2019, arXiv 1909.05858, section 4.1).

    As in transformers: a positive logit is divided by the penalty and a negative one multiplied,
    once, however often the token was there.

    Args:
        logits_V: of the next token.
        ids: of the tokens before it, the prompt included.
        penalty: above 1 makes them less likely.
    """
    ids_S = torch.tensor(ids, device=logits_V.device)
    before_S = logits_V[ids_S]
    after_S = torch.where(before_S < 0, before_S * penalty, before_S / penalty)
    return logits_V.scatter(-1, ids_S, after_S)


def pick(logits_NV: Tensor, uniform_N: Tensor, filters: Filters) -> Tensor:
    """Return the token ids (N,) that the uniforms in [0, 1) pick.

    The cumulative sum runs in float64 whatever the precision of the logits.
    """
    return choices(logits_NV, filters).pick(uniform_N)


def probabilities(logits_NV: Tensor, filters: Filters) -> Tensor:
    """Return the distribution (N, V) that `pick` draws from."""
    logits_NV = _without(logits_NV, filters.excluded)
    if filters.temperature == 0:
        return torch.zeros_like(logits_NV).scatter(-1, logits_NV.argmax(-1, keepdim=True), 1.0)
    weights_NV = _weights(logits_NV, filters)
    return weights_NV / weights_NV.sum(dim=-1, keepdim=True)


def log_probabilities(logits: Tensor) -> Tensor:
    """Return log p (..., V) of the unfiltered distribution at temperature 1, in nats."""
    log_p: Tensor = at_least_float32(logits).log_softmax(dim=-1)
    return log_p


def entropy(log_p: Tensor) -> Tensor:
    """Return the Shannon entropy (...,) in nats of distributions given as log p (..., V)."""
    found: Tensor = torch.special.entr(log_p.exp()).sum(dim=-1)
    return found


def _invert(weights_NK: Tensor, uniform_N: Tensor) -> Tensor:
    """Return the index (N,) of the interval of the cumulative sum that holds the uniform."""
    cdf_NK = weights_NK.cumsum(dim=-1, dtype=torch.float64)
    total_N1 = cdf_NK[:, -1:]
    # u < 1, but u * total can round up to total, which no interval holds.
    below_total_N1 = torch.nextafter(total_N1, torch.zeros_like(total_N1))
    target_N1 = torch.minimum(uniform_N[:, None] * total_N1, below_total_N1)
    picked_N = torch.searchsorted(cdf_NK, target_N1, right=True).squeeze(-1)
    # Only logits that are not numbers point past the end; the step finds them out.
    return picked_N.clamp(max=weights_NK.shape[-1] - 1)


def _without(logits_NV: Tensor, excluded: tuple[int, ...]) -> Tensor:
    """The logits, minus infinity for ids that must not be drawn."""
    if not excluded:
        return logits_NV
    return logits_NV.index_fill(-1, _as_tensor(excluded, logits_NV.device), -torch.inf)


@lru_cache(maxsize=4)
def _as_tensor(ids: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(ids, device=device)


def _only_top_k(logits_NV: Tensor, top_k: int | None) -> tuple[Tensor, Tensor] | None:
    """Return the k largest logits (N, K) and their ids, in the order of the ids.

    What is left out has weight zero, so the sums over the rest are the same. None
    without a top-k, and where more than k logits are to be kept because of a tie.
    """
    if top_k is None or top_k >= logits_NV.shape[-1]:
        return None
    largest_NK, ids_NK = logits_NV.topk(top_k, dim=-1, sorted=False)
    kept_N = (logits_NV >= largest_NK.amin(dim=-1, keepdim=True)).sum(dim=-1)
    if bool((kept_N != top_k).any()):
        return None
    ids_NK, order_NK = ids_NK.sort(dim=-1)
    return largest_NK.gather(-1, order_NK), ids_NK


def _weights(logits_NV: Tensor, filters: Filters) -> Tensor:
    """Unnormalised probabilities: exp of the scaled logits, 0 where filtered out.

    Ties at a filter's edge are kept, so the result does not depend on a sort's order.
    """
    logits_NV = at_least_float32(logits_NV)
    scaled_NV = (logits_NV - logits_NV.amax(dim=-1, keepdim=True)) / filters.temperature
    weights_NV = scaled_NV.exp()
    if filters.top_k is not None and filters.top_k < logits_NV.shape[-1]:
        smallest_N1 = logits_NV.topk(filters.top_k, dim=-1, sorted=True).values[:, -1:]
        weights_NV = weights_NV.masked_fill(logits_NV < smallest_N1, 0.0)
    if filters.top_p is not None and filters.top_p < 1:
        weights_NV = _nucleus(weights_NV, filters.top_p)
    if filters.min_p > 0:  # the most probable token has weight 1, and no filter drops it
        weights_NV = weights_NV.masked_fill(weights_NV < filters.min_p, 0.0)
    return weights_NV


def _nucleus(weights_NV: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of most probable tokens that reaches top_p of the mass."""
    descending_NV = weights_NV.sort(dim=-1, descending=True).values
    mass_NV = descending_NV.cumsum(dim=-1, dtype=torch.float64)
    is_short_NV = mass_NV < top_p * mass_NV[:, -1:]
    last_kept_N1 = is_short_NV.sum(dim=-1, keepdim=True).clamp(max=weights_NV.shape[-1] - 1)
    return weights_NV.masked_fill(weights_NV < descending_NV.gather(-1, last_kept_N1), 0.0)
