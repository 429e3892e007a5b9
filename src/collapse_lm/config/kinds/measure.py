"""The kinds of measure beside those that every run has. One class per kind."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from collapse_lm.config.fields import Int
from collapse_lm.config.given import Given, complete, is_function
from collapse_lm.config.slots import Part, Slot, as_parts, chooser

if TYPE_CHECKING:
    from collapse_lm.experiment.build import Context
    from collapse_lm.measures.base import Measure


class MeasureConfig(Part, ABC):
    """A measure beside those that every run has."""

    every: Int = Field(default=1, ge=1)
    """Updates between two measurements; the last update is measured too, unless the measure
    remembers something from one to the next."""

    @abstractmethod
    def build(self, context: "Context") -> "Measure":
        """Make the measure."""


class Overlap(MeasureConfig):
    """Share of the n-grams of a probe that stood in the last one measured."""

    kind: Literal["overlap"] = "overlap"
    n: Int = Field(default=4, ge=1, le=16)
    """Tokens of an n-gram."""

    def build(self, context: "Context") -> "Measure":
        """Make the measure."""
        from collapse_lm.measures.overlap import OverlapWithLast

        return OverlapWithLast(self.n, self.every)


class BaseLogProbability(MeasureConfig):
    """Log-probability of each token of the probe under the base model, which stays in memory.

    Updates without a probe are not measured. Under sampling.context=sliding it costs as much
    as drawing.
    """

    kind: Literal["base_log_probability"] = "base_log_probability"

    def build(self, context: "Context") -> "Measure":
        """Make the measure."""
        from collapse_lm.measures import against_base

        sampling = context.config.sampling
        block_size = sampling.block_size if sampling.context == "sliding" else None
        return against_base.BaseLogProbability(self.every, block_size)


class GivenMeasure(Given, MeasureConfig):
    """A measure that was handed over from Python; a function measures each update."""

    def build(self, context: "Context") -> "Measure":
        """Make the measure."""
        from collapse_lm.measures.base import FunctionMeasure

        made = self.make("measures", context)
        if is_function(made, "every"):
            return FunctionMeasure(made)
        return complete("measures", made, "every", "__call__")  # type: ignore[no-any-return]


MEASURES = Slot(
    "measure", MeasureConfig, (Overlap, BaseLogProbability), "collapse_lm.measures", GivenMeasure
)
AnyMeasure = Annotated[SerializeAsAny[MeasureConfig], BeforeValidator(chooser(MEASURES))]
AnyMeasures = Annotated[tuple[AnyMeasure, ...], BeforeValidator(as_parts)]
