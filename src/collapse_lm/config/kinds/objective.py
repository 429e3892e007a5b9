"""The kinds of objective: what a step minimises. One class per kind."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, SerializeAsAny

from collapse_lm.config.given import Given, complete, is_function
from collapse_lm.config.slots import Part, Slot, chooser

if TYPE_CHECKING:
    from collapse_lm.experiment.build import Context
    from collapse_lm.experiment.objectives import Objective


class ObjectiveConfig(Part, ABC):
    """What a step minimises."""

    @abstractmethod
    def build(self, context: "Context") -> "Objective":
        """Make the objective."""


def _chosen(value: object) -> object:
    return chooser(OBJECTIVES)(value)


AnyObjective = Annotated[SerializeAsAny[ObjectiveConfig], BeforeValidator(_chosen)]
"""An objective by its kind; wrappers hold another."""


class Nll(ObjectiveConfig):
    """The mean negative log-likelihood of the batch: the paper's loss."""

    kind: Literal["nll"] = "nll"

    def build(self, context: "Context") -> "Objective":
        """Make the objective."""
        from collapse_lm.experiment.objectives import NegativeLogLikelihood

        return NegativeLogLikelihood()


class GivenObjective(Given, ObjectiveConfig):
    """An objective that was handed over from Python; a function needs no base model."""

    def build(self, context: "Context") -> "Objective":
        """Make the objective."""
        from collapse_lm.experiment.objectives import FunctionObjective

        made = self.make("objective", context)
        if is_function(made, "needs_base"):
            return FunctionObjective(made)
        return complete("objective", made, "needs_base", "__call__")  # type: ignore[no-any-return]


OBJECTIVES = Slot("objective", ObjectiveConfig, (Nll,), "collapse_lm.objectives", GivenObjective)
