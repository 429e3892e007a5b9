"""The kinds of objective: what a step minimises. One class per kind."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from pydantic_core import PydanticCustomError

from collapse_lm.config.fields import Float, Section, Share
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


class LabelSmoothing(ObjectiveConfig):
    """Cross-entropy to a target that has lost a share to all tokens alike (Szegedy et al. 2016)."""

    kind: Literal["label_smoothing"] = "label_smoothing"
    smoothing: Share = 0.1
    """Share of the target that is spread evenly over the vocabulary, the target included."""

    def build(self, context: "Context") -> "Objective":
        """Make the objective."""
        from collapse_lm.experiment.objectives.label_smoothing import LabelSmoothing

        return LabelSmoothing(self.smoothing)


class TruncatedNll(ObjectiveConfig):
    """Negative log-likelihood without the targets that are all but certain (ForTIFAI)."""

    kind: Literal["truncated_nll"] = "truncated_nll"
    threshold: Float = Field(default=0.8, gt=0, le=1)
    """A target counts as 0 where its probability is above this; the mean is over all targets."""
    control: Literal["none", "random"] = "none"
    """random: as many targets are left out, but at random places: what a smaller step does."""

    def build(self, context: "Context") -> "Objective":
        """Make the objective."""
        from collapse_lm.experiment.objectives.truncated_nll import TruncatedNll

        return TruncatedNll(self.threshold, self.control, context.seed)


class Term(ObjectiveConfig, ABC):
    """A term that is added to another objective."""

    of: AnyObjective = Nll()
    """The objective that the term is added to, of any kind."""

    @model_validator(mode="after")
    def _is_the_only_one(self) -> Self:
        name, within = self.term_name(), self.of
        while isinstance(within, Term):
            if within.term_name() == name:
                expected = "each term once (their weights would add up)"
                raise PydanticCustomError("term", "{expected}", {"expected": expected})
            within = within.of
        return self

    def term_name(self) -> str:
        """What tells the term from others that may be added beside it."""
        return self.kind

    @abstractmethod
    def term(self) -> "Objective":
        """Make the term alone."""

    def build(self, context: "Context") -> "Objective":
        """Make the objective: the sum of what is within and the term."""
        from collapse_lm.experiment.objectives.added import Added

        return Added(self.of.build(context), self.term())


class KlToBase(Term):
    """Another objective, and a KL divergence to the base model, which stays in memory."""

    kind: Literal["kl_to_base"] = "kl_to_base"
    weight: Float = Field(default=0.1, ge=0)
    """Of the divergence, in nats per position over the full vocabulary."""
    direction: Literal["reverse", "forward"] = "reverse"
    """reverse: KL(trained, base), the penalty of RLHF. forward: KL(base, trained), distillation."""

    def term_name(self) -> str:
        """Both directions may be penalised at once."""
        return f"{self.kind} {self.direction}"

    def term(self) -> "Objective":
        """Make the term alone."""
        from collapse_lm.experiment.objectives.kl_to_base import KlToBase

        return KlToBase(self.weight, self.direction)


class AdaptiveEntropy(Section):
    """How the weight of an entropy bonus follows the entropy: TRL's rule, once per update.

    The weight grows by a step after an update at or below the target, else it falls by one. The
    bonus is given in the updates that follow one at or below the target.
    """

    target: Float = Field(gt=0)
    """Mean predictive entropy of the batch, in nats, that the bonus is to hold."""
    step: Float = Field(default=0.005, gt=0)
    """By which the weight moves."""
    ceiling: Float = Field(default=1.0, gt=0)
    """Largest weight; the smallest is 0."""


class EntropyBonus(Term):
    """Another objective, less a share of the predictive entropy at each position."""

    kind: Literal["entropy_bonus"] = "entropy_bonus"
    weight: Float = Field(default=0.01, ge=0)
    """Of the entropy, in nats per position; where it adapts, of the first update."""
    adaptive: AdaptiveEntropy | None = None
    """How the weight follows the entropy: target, step, ceiling; null keeps it fixed."""

    def term(self) -> "Objective":
        """Make the term alone."""
        from collapse_lm.experiment.objectives import entropy_bonus as bonus

        if self.adaptive is None:
            return bonus.EntropyBonus(self.weight)
        control = bonus.Control(self.adaptive.target, self.adaptive.step, self.adaptive.ceiling)
        return bonus.AdaptiveEntropyBonus(self.weight, control)


class Unlikelihood(Term):
    """Another objective, and the unlikelihood of the tokens that stood before (Welleck 2020)."""

    kind: Literal["unlikelihood"] = "unlikelihood"
    weight: Float = Field(default=1.0, ge=0)
    """Of the unlikelihood of each target."""

    def term(self) -> "Objective":
        """Make the term alone."""
        from collapse_lm.experiment.objectives.unlikelihood import Unlikelihood

        return Unlikelihood(self.weight)


class GivenObjective(Given, ObjectiveConfig):
    """An objective that was handed over from Python; a function needs no base model."""

    def build(self, context: "Context") -> "Objective":
        """Make the objective."""
        from collapse_lm.experiment.objectives import FunctionObjective

        made = self.make("objective", context)
        if is_function(made, "needs_base"):
            return FunctionObjective(made)
        return complete("objective", made, "needs_base", "__call__")  # type: ignore[no-any-return]


_KINDS = (Nll, KlToBase, LabelSmoothing, TruncatedNll, EntropyBonus, Unlikelihood)
OBJECTIVES = Slot("objective", ObjectiveConfig, _KINDS, "collapse_lm.objectives", GivenObjective)
