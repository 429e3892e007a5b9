"""A bonus for predictive entropy, at a fixed weight or at one that follows the entropy."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from collapse_lm.experiment.models import Saved
from collapse_lm.experiment.objectives.base import Chunk
from collapse_lm.experiment.objectives.update_mean import UpdateMean
from collapse_lm.measures.names import Number

_SAVED = {"weight", "update", "entropy", "targets"}


def entropy_sum(log_p_TV: Tensor) -> Tensor:
    """Sum over the positions of the entropy of the full distribution, in nats."""
    return -(log_p_TV.exp() * log_p_TV).sum()


class EntropyBonus:
    """Minus `weight` times the predictive entropy at each position (Williams and Peng 1991)."""

    needs_base = False

    def __init__(self, weight: float) -> None:
        self._weight, self._mean = weight, UpdateMean()

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return the sum over the targets, in nats."""
        entropy = entropy_sum(chunk.log_p_TV)
        self._mean.add(chunk.update, entropy, len(chunk.targets_T))
        return -self._weight * entropy

    def values(self) -> Mapping[str, Number]:
        """The mean entropy, and the weight."""
        return {"objective.entropy": self._mean.value, "objective.entropy_weight": self._weight}


@dataclass(frozen=True)
class Control:
    """How the weight follows the entropy (TRL's rule: `use_adaptive_entropy` of its GRPO).

    Attributes:
        target: entropy in nats.
        step: by which the weight moves in an update.
        ceiling: largest weight; the smallest is 0.
    """

    target: float
    step: float
    ceiling: float

    def moved(self, weight: float, entropy: float) -> float:
        """The weight after an update of this mean entropy."""
        step = self.step if entropy <= self.target else -self.step
        return min(max(weight + step, 0.0), self.ceiling)


class AdaptiveEntropyBonus:
    """An entropy bonus whose weight moves once per update, after all its steps.

    The entropy of an update is known when its last chunk is, so it decides the next one: an
    update is given the bonus if the entropy of the update before was at or below the target,
    at the weight as it then is. The first update is given it at the first weight.
    """

    needs_base = False

    def __init__(self, weight: float, control: Control) -> None:
        self._weight, self._control = weight, control
        self._applied, self._mean = weight, UpdateMean()

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return the sum over the targets, in nats."""
        if chunk.update != self._mean.update and self._mean.count:
            self._move()
        log_p_TV = chunk.log_p_TV if self._applied else chunk.log_p_TV.detach()
        entropy = entropy_sum(log_p_TV)
        self._mean.add(chunk.update, entropy, len(chunk.targets_T))
        return -self._applied * entropy

    def values(self) -> Mapping[str, Number]:
        """The mean entropy, and the weight that was applied."""
        return {"objective.entropy": self._mean.value, "objective.entropy_weight": self._applied}

    def state(self) -> Saved:
        """The weight before it moves by the last update, and the entropy of that update."""
        mean = self._mean
        return {
            "weight": self._weight,
            "update": mean.update,
            "entropy": mean.total,
            "targets": mean.count,
        }

    def load(self, state: Saved) -> None:
        """Take over what `state` gave.

        Raises:
            ValueError: for the state of something else.
        """
        if state.keys() != _SAVED:
            raise ValueError("it is not the state of an adaptive entropy bonus")
        self._weight, mean = state["weight"], self._mean
        mean.update, mean.total, mean.count = state["update"], state["entropy"], state["targets"]

    def _move(self) -> None:
        entropy = self._mean.value
        self._weight = self._control.moved(self._weight, entropy)
        self._applied = self._weight if entropy <= self._control.target else 0.0
