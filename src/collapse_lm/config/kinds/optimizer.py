"""The kinds of optimizer: how a gradient becomes a step. One class per kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from collapse_lm.config.fields import Float, Share
from collapse_lm.config.given import Given, complete
from collapse_lm.config.slots import Part, Slot, chooser
from collapse_lm.errors import UserError


class OptimizerConfig(Part, ABC):
    """The rule by which a gradient becomes a step."""

    @abstractmethod
    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make a torch optimizer over parameter groups."""

    def corpora(self) -> tuple[str, ...]:
        """References of the corpora that it reads."""
        return ()


def _chosen(value: object) -> object:
    return chooser(OPTIMIZERS)(value)


AnyOptimizer = Annotated[SerializeAsAny[OptimizerConfig], BeforeValidator(_chosen)]
"""An optimizer by its kind; wrappers hold another."""


class AdamW(OptimizerConfig):
    """AdamW (Loshchilov and Hutter 2019): the paper's optimizer."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Share, Share] = (0.9, 0.95)
    """Decay rates of the first and second moment."""

    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make a torch optimizer over parameter groups."""
        import torch

        return torch.optim.AdamW(
            [dict(group) for group in groups], lr=learning_rate, betas=self.betas, fused=True
        )


class Sgd(OptimizerConfig):
    """Stochastic gradient descent; weight decay is added to the gradient, before momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: Float = Field(default=0.0, ge=0, lt=1)
    """Share of the last step that is taken again."""

    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make a torch optimizer over parameter groups."""
        import torch

        return torch.optim.SGD(
            [dict(group) for group in groups], lr=learning_rate, momentum=self.momentum, fused=True
        )


class Fresh(OptimizerConfig):
    """Another optimizer that forgets its moments before every update."""

    kind: Literal["fresh"] = "fresh"
    of: AnyOptimizer = AdamW()
    """The optimizer."""

    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make the optimizer over parameter groups."""
        from collapse_lm.experiment.steps import FreshSteps

        return FreshSteps(self.of.build(groups, learning_rate))

    def corpora(self) -> tuple[str, ...]:
        """Those of the optimizer within."""
        return self.of.corpora()


class RandomDirection(OptimizerConfig):
    """A control: steps as long as another optimizer's, per tensor, in a random direction.

    Keeps a copy of the weights for the time of a step.
    """

    kind: Literal["random"] = "random"
    of: AnyOptimizer = AdamW()
    """The optimizer whose steps give the lengths, its weight decay included."""

    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make the optimizer over parameter groups."""
        from collapse_lm.experiment.steps import RandomSteps

        return RandomSteps(self.of.build(groups, learning_rate))

    def corpora(self) -> tuple[str, ...]:
        """Those of the optimizer within."""
        return self.of.corpora()


class DecayToBase(OptimizerConfig):
    """Another optimizer, beside which all weights decay towards those of the base model.

    L2-SP (Li et al. 2018, arXiv 1802.01483), decoupled from the gradient as in AdamW. Keeps a
    copy of the base model's weights. `training.weight_decay` decays towards 0 as ever.
    """

    kind: Literal["decay_to_base"] = "decay_to_base"
    of: AnyOptimizer = AdamW()
    """The optimizer."""
    rate: Float = Field(default=0.1, ge=0)
    """A step takes learning rate x this of the way back."""

    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make the optimizer over parameter groups."""
        from collapse_lm.experiment.steps import StepsToBase

        return StepsToBase(self.of.build(groups, learning_rate), self.rate)

    def corpora(self) -> tuple[str, ...]:
        """Those of the optimizer within."""
        return self.of.corpora()


class Krause(OptimizerConfig):
    """The step of dynamic evaluation (Krause et al. 2018, arXiv 1709.07432, section 5).

    A gradient is divided by its root mean square (RMS) over batches of a training text, which
    are read before the first step, and each weight decays towards the base model's in proportion
    to its RMS. Holds two copies of the weights beside them.
    """

    kind: Literal["krause"] = "krause"
    decay: Float = Field(default=0.002, ge=0)
    """λ: the share of its way back that a weight of mean RMS goes in a step; at most 1 of any."""
    epsilon: Float = Field(default=1e-3, gt=0)
    """Added to the RMS. Published are 1e-5 to 1e-4; rows of rare tokens need more."""
    corpus: str = "sotu-train"
    """Text of the statistics: a name, or text:PATH."""
    batches: int = Field(default=50, ge=1)
    """At most as many are read."""
    batch_size: int = Field(default=1, ge=1)
    """Segments of a batch, each as long as a text of an update."""

    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make the optimizer over parameter groups."""
        from collapse_lm.experiment.krause import KrauseSteps

        return KrauseSteps(groups, learning_rate, self)

    def corpora(self) -> tuple[str, ...]:
        """The text of the statistics."""
        return (self.corpus,)


class GivenOptimizer(Given, OptimizerConfig):
    """An optimizer that was handed over from Python: called with groups and learning rate."""

    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make a torch optimizer over parameter groups."""
        groups = [dict(group) for group in groups]
        made = self.make("optimizer", groups, learning_rate)
        if made is self._part and callable(made):
            made = made(groups, learning_rate)
        if made is self._part:
            raise UserError.single(
                "optimizer",
                f"a {type(made).__name__} over other parameters",
                "its class, or a function of parameter groups and learning rate",
                "optimizer=torch.optim.Adam",
            )
        return complete("optimizer", made, "step", "param_groups")


_OWN = (AdamW, Sgd, Fresh, RandomDirection, DecayToBase, Krause)
OPTIMIZERS = Slot("optimizer", OptimizerConfig, _OWN, "collapse_lm.optimizers", GivenOptimizer)
