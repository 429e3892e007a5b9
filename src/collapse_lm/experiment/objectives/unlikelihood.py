"""Unlikelihood of the tokens that stand before the target (Welleck et al. 2020).

Shapes: C different tokens of a text up to the end of the chunk.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from collapse_lm.experiment.objectives.base import Chunk
from collapse_lm.experiment.objectives.update_mean import UpdateMean
from collapse_lm.measures.names import Number

_LEAST = 1e-5  # 1 - p is at least this, as in the authors' code: its logarithm stays finite


class Unlikelihood:
    """`weight` times - sum_c log(1 - p(c)), over the candidates c of each target: equation 4.

    Candidates are the paper's previous context: the different tokens before the target in its
    text, prompt included, the target itself excluded. In a random window (`training.window`)
    the text is what the window holds and the token before it.
    """

    needs_base = False

    def __init__(self, weight: float) -> None:
        self._weight, self._mean = weight, UpdateMean()

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return the sum over the targets, in nats."""
        tokens_C, is_candidate_TC = candidates(chunk.before_S, chunk.targets_T)
        p_TC = chunk.log_p_TV[:, tokens_C].exp()
        each_TC = -torch.log((1 - p_TC).clamp(min=_LEAST))
        total = each_TC.masked_fill(~is_candidate_TC, 0.0).sum()
        self._mean.add(chunk.update, total, len(chunk.targets_T))
        return self._weight * total

    def values(self) -> Mapping[str, Number]:
        """The mean per target, without its weight."""
        return {"objective.unlikelihood": self._mean.value}


def candidates(before_S: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """The different tokens of a text, and which of them are candidates at each target.

    Returns:
        Token ids (C,); and truth values (T, C): the token stood before the target and is not
        the target.
    """
    text_S = torch.cat([before_S, targets_T])
    tokens_C, which_S = torch.unique(text_S, return_inverse=True)
    places_S = torch.arange(len(text_S), device=text_S.device)
    first_C = torch.full_like(tokens_C, len(text_S))
    first_C = first_C.scatter_reduce(0, which_S, places_S, "amin")
    places_T1 = places_S[len(before_S) :, None]
    return tokens_C, (first_C < places_T1) & (tokens_C != targets_T[:, None])
