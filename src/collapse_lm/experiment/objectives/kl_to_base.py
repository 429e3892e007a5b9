"""A KL divergence between the trained and the base model, over the full vocabulary.

Knows nothing of how the texts were drawn: it holds at the positions of the batch, whatever
its source.
"""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor
from torch.nn import functional

from collapse_lm.experiment.objectives.base import Chunk
from collapse_lm.experiment.objectives.update_mean import UpdateMean
from collapse_lm.measures.names import Number

Direction = Literal["reverse", "forward"]


class KlToBase:
    """`weight` times the KL divergence at each position.

    reverse: KL(p_u, p_0) = sum_v p_u(v) (log p_u(v) - log p_0(v)), the penalty of KL control
    (Jaques et al. 2017) and of RLHF (Ziegler et al. 2019, section 2, where samples estimate it).
    forward: KL(p_0, p_u), distillation from the base model at temperature 1 (Hinton et al. 2015).
    """

    needs_base = True

    def __init__(self, weight: float, direction: Direction) -> None:
        self._weight, self._direction, self._mean = weight, direction, UpdateMean()

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return the sum over the targets, in nats."""
        kl = kl_sum(chunk, self._direction)
        self._mean.add(chunk.update, kl, len(chunk.targets_T))
        return self._weight * kl

    def values(self) -> Mapping[str, Number]:
        """The mean divergence, without its weight."""
        return {f"objective.kl_{self._direction}": self._mean.value}


def kl_sum(chunk: Chunk, direction: Direction) -> Tensor:
    """Sum over the targets of KL(p_u, p_0) (reverse) or KL(p_0, p_u) (forward), in nats."""
    assert chunk.base_TV is not None  # it was asked for
    own_TV = chunk.log_p_TV
    base_TV = functional.log_softmax(chunk.base_TV, -1, dtype=own_TV.dtype)
    first, second = (own_TV, base_TV) if direction == "reverse" else (base_TV, own_TV)
    return functional.kl_div(second, first, reduction="sum", log_target=True)
