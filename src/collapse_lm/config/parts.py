"""The kinds of part of each place of an experiment, as configurations that build them.

One class per kind: its fields are the part's settings, `build` makes it. Parts of other
packages subclass the same bases (see `slots`). Knows nothing of what the parts do.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from collapse_lm.config.fields import Float, Int, Share
from collapse_lm.config.given import Given, complete, is_function
from collapse_lm.config.slots import Part, Slot, as_parts, chooser
from collapse_lm.errors import UserError

if TYPE_CHECKING:
    from collapse_lm.experiment.build import Context
    from collapse_lm.experiment.objectives import Objective
    from collapse_lm.experiment.sources import Source
    from collapse_lm.measures.base import Measure
    from collapse_lm.observers.base import Observer


class SourceConfig(Part, ABC):
    """Where the text of an update comes from."""

    is_own: ClassVar[bool] = False
    """True where a batch is drawn from the current model alone, so that it can be the probe."""

    @abstractmethod
    def build(self, context: "Context") -> "Source":
        """Make the source."""


class Own(SourceConfig):
    """The paper's source: samples that the current model draws itself (see `sampling`)."""

    is_own: ClassVar[bool] = True
    kind: Literal["own"] = "own"

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources.own import OwnSamples

        return OwnSamples(context.sampling())


class ObjectiveConfig(Part, ABC):
    """What a step minimises."""

    @abstractmethod
    def build(self, context: "Context") -> "Objective":
        """Make the objective."""


class Nll(ObjectiveConfig):
    """The mean negative log-likelihood of the batch: the paper's loss."""

    kind: Literal["nll"] = "nll"

    def build(self, context: "Context") -> "Objective":
        """Make the objective."""
        from collapse_lm.experiment.objectives import NegativeLogLikelihood

        return NegativeLogLikelihood()


class OptimizerConfig(Part, ABC):
    """The rule by which a gradient becomes a step."""

    @abstractmethod
    def build(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> Any:
        """Make a torch optimizer over parameter groups."""


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


class ObserverConfig(Part, ABC):
    """Somebody who watches a run and decides nothing."""

    @abstractmethod
    def build(self) -> "Observer":
        """Make the observer; what there is to know of the run, `start` tells it."""


class Pictures(ObserverConfig):
    """figures/losses.* and samples.md, drawn at the end of a run."""

    kind: Literal["pictures"] = "pictures"

    def build(self) -> "Observer":
        """Make the observer."""
        from collapse_lm.observers.pictures import PicturesAtTheEnd

        return PicturesAtTheEnd()


class GivenSource(Given, SourceConfig):
    """A source that was handed over from Python; a function is its `draw`."""

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources import FunctionSource

        made = self.make("source", context)
        if is_function(made, "draw"):
            return FunctionSource(made)
        return complete("source", made, "draw", "replay")  # type: ignore[no-any-return]


class GivenObjective(Given, ObjectiveConfig):
    """An objective that was handed over from Python; a function needs no base model."""

    def build(self, context: "Context") -> "Objective":
        """Make the objective."""
        from collapse_lm.experiment.objectives import FunctionObjective

        made = self.make("objective", context)
        if is_function(made, "needs_base"):
            return FunctionObjective(made)
        return complete("objective", made, "needs_base", "__call__")  # type: ignore[no-any-return]


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


class GivenMeasure(Given, MeasureConfig):
    """A measure that was handed over from Python; a function measures each update."""

    def build(self, context: "Context") -> "Measure":
        """Make the measure."""
        from collapse_lm.measures.base import FunctionMeasure

        made = self.make("measures", context)
        if is_function(made, "every"):
            return FunctionMeasure(made)
        return complete("measures", made, "every", "__call__")  # type: ignore[no-any-return]


SOURCES = Slot("source", SourceConfig, (Own,), "collapse_lm.sources", GivenSource)
OBJECTIVES = Slot("objective", ObjectiveConfig, (Nll,), "collapse_lm.objectives", GivenObjective)
OPTIMIZERS = Slot(
    "optimizer", OptimizerConfig, (AdamW, Sgd), "collapse_lm.optimizers", GivenOptimizer
)
MEASURES = Slot(
    "measure", MeasureConfig, (Overlap, BaseLogProbability), "collapse_lm.measures", GivenMeasure
)
OBSERVERS = Slot("observer", ObserverConfig, (Pictures,), "collapse_lm.observers", None)
SLOTS = (SOURCES, OBJECTIVES, OPTIMIZERS, MEASURES, OBSERVERS)


AnySource = Annotated[SerializeAsAny[SourceConfig], BeforeValidator(chooser(SOURCES))]
AnyObjective = Annotated[SerializeAsAny[ObjectiveConfig], BeforeValidator(chooser(OBJECTIVES))]
AnyOptimizer = Annotated[SerializeAsAny[OptimizerConfig], BeforeValidator(chooser(OPTIMIZERS))]
AnyMeasure = Annotated[SerializeAsAny[MeasureConfig], BeforeValidator(chooser(MEASURES))]
AnyObserver = Annotated[SerializeAsAny[ObserverConfig], BeforeValidator(chooser(OBSERVERS))]
AnyMeasures = Annotated[tuple[AnyMeasure, ...], BeforeValidator(as_parts)]
AnyObservers = Annotated[tuple[AnyObserver, ...], BeforeValidator(as_parts)]
