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


OPTIMIZERS = Slot(
    "optimizer", OptimizerConfig, (AdamW, Sgd), "collapse_lm.optimizers", GivenOptimizer
)
