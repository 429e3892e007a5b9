"""The kinds of source: where the text of an update comes from. One class per kind."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from pydantic_core import PydanticCustomError

from collapse_lm.config.fields import Float, Int, Share
from collapse_lm.config.given import Given, complete, is_function
from collapse_lm.config.kinds.generations import Generations
from collapse_lm.config.kinds.source_config import SourceConfig
from collapse_lm.config.slots import Slot, chooser

if TYPE_CHECKING:
    from collapse_lm.config.sections import SamplingConfig
    from collapse_lm.experiment.build import Context
    from collapse_lm.experiment.sources import Source
    from collapse_lm.experiment.sources.around import Way


def _chosen(value: object) -> object:
    return chooser(SOURCES)(value)


def _greedy(sampling: "SamplingConfig") -> str:
    is_greedy = sampling.temperature == 0 or sampling.top_k == 1
    return "greedy samples" if is_greedy else ""


AnySource = Annotated[SerializeAsAny[SourceConfig], BeforeValidator(_chosen)]
"""A source by its kind; wrappers hold another."""


class Own(SourceConfig):
    """The paper's source: samples that the current model draws itself (see `sampling`)."""

    is_own: ClassVar[bool] = True
    is_told: ClassVar[bool] = True
    kind: Literal["own"] = "own"

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources.own import OwnSamples

        return OwnSamples(context.sampling())

    def within(self, context: "Context") -> "Source":
        """Make it as a source within another."""
        from collapse_lm.experiment.sources.own import OwnSamples

        return OwnSamples(context.sampling(), learns=False)

    def same_again(self, sampling: "SamplingConfig") -> str:
        """Samples, where they are greedy."""
        return _greedy(sampling)


class Frozen(SourceConfig):
    """Samples of the base model, by the same settings and random numbers as `own`: no feedback."""

    is_told: ClassVar[bool] = True
    kind: Literal["frozen"] = "frozen"

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources.frozen import FrozenSamples
        from collapse_lm.experiment.sources.own import OwnSamples

        return FrozenSamples(OwnSamples(context.sampling()))

    def within(self, context: "Context") -> "Source":
        """Make it as a source within another."""
        from collapse_lm.experiment.sources.frozen import FrozenSamples
        from collapse_lm.experiment.sources.own import OwnSamples

        return FrozenSamples(OwnSamples(context.sampling(), learns=False))

    def same_again(self, sampling: "SamplingConfig") -> str:
        """Samples, where they are greedy."""
        return _greedy(sampling)


class Real(SourceConfig):
    """Windows of a human text, as many tokens of it as own samples have."""

    kind: Literal["real"] = "real"
    corpus: str = Field(default="sotu-train", min_length=1)
    """What is trained on: a name, or text:PATH. A corpus that is also evaluated is told."""
    order: Literal["random", "stream"] = "random"
    """random: windows at random places, from a stream of their own. stream: the corpus in order,
    again from its beginning past its end; the train loss is then that of dynamic evaluation."""

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources.real import real_text

        return real_text(context, self.corpus, self.order)

    def corpora(self) -> tuple[str, ...]:
        """The one that is trained on."""
        return (self.corpus,)

    def same_again(self, sampling: "SamplingConfig") -> str:
        """A stream, whose windows follow from the number of the update."""
        return "real text in the order stream" if self.order == "stream" else ""


class Wrapper(SourceConfig, ABC):
    """A source around another."""

    is_told: ClassVar[bool] = True
    of: AnySource = Own()
    """The source within, of any kind but generations."""

    @model_validator(mode="after")
    def _holds_what_can_be_held(self) -> Self:
        if self.of.stands_alone:
            told = {"kind": self.of.kind, "around": self.kind}
            raise PydanticCustomError("alone", "{kind} alone, no {around} around it", told)
        return self

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        return self._around(context, is_outermost=True)

    def within(self, context: "Context") -> "Source":
        """Make it as a source within another."""
        return self._around(context, is_outermost=False)

    @abstractmethod
    def way(self, context: "Context") -> "Way":
        """Make what is done with the texts of the source within."""

    def corpora(self) -> tuple[str, ...]:
        """Those of the source within."""
        return self.of.corpora()

    def texts_for(self, batch_size: int) -> int:
        """As many as the source within."""
        return self.of.texts_for(batch_size)

    def same_again(self, sampling: "SamplingConfig") -> str:
        """What does so within."""
        return self.of.same_again(sampling)

    def depth(self) -> int:
        """How many sources stand within."""
        return 1 + (self.of.depth() if isinstance(self.of, Wrapper) else 0)

    def _around(self, context: "Context", *, is_outermost: bool) -> "Source":
        from collapse_lm.experiment.sources.around import Around

        within, way = self.of.within(context), self.way(context)
        return Around(within, way, tells=self.of.is_told, is_outermost=is_outermost)


class Shuffled(Wrapper):
    """The texts of another source, the tokens of each in random order."""

    kind: Literal["shuffled"] = "shuffled"

    def way(self, context: "Context") -> "Way":
        """Make what is done with the texts of the source within."""
        from collapse_lm.experiment.sources.numbers import Numbers
        from collapse_lm.experiment.sources.shuffled import Shuffled as Way

        return Way(Numbers(context.seed, self.depth()))


class Mix(Wrapper):
    """Another source, with real text in place of a share of its texts."""

    kind: Literal["mix"] = "mix"
    real: Real = Real()
    """The real text: corpus and order."""
    share: Float = Field(default=0.5, ge=0, le=1)
    """Share of the texts that are real. Where it is no whole number of a batch (a single text, for
    one), it holds on average over updates."""

    def way(self, context: "Context") -> "Way":
        """Make what is done with the texts of the source within."""
        from collapse_lm.experiment.sources.mix import Mix as Way
        from collapse_lm.experiment.sources.numbers import Numbers
        from collapse_lm.experiment.sources.real import real_text

        depth, count = self.depth(), self.of.texts_for(context.config.sampling.batch_size)
        real = real_text(context, self.real.corpus, self.real.order, depth, which=1)
        return Way(replace(real, count=count), self.share, Numbers(context.seed, depth))

    def corpora(self) -> tuple[str, ...]:
        """The real text's, and those of the source within."""
        return (*self.real.corpora(), *self.of.corpora())

    def same_again(self, sampling: "SamplingConfig") -> str:
        """The real text, or what does so within."""
        return self.real.same_again(sampling) or self.of.same_again(sampling)


class Replay(Wrapper):
    """Another source, with its texts of earlier updates in place of a share of the new ones."""

    kind: Literal["replay"] = "replay"
    share: Share = 0.5
    """Share of the texts that are earlier ones; on average over updates, as in `mix`."""
    last: Int | None = Field(default=None, ge=1)
    """Updates back that they come from; null: all since the first."""

    def way(self, context: "Context") -> "Way":
        """Make what is done with the texts of the source within."""
        from collapse_lm.experiment.sources.numbers import Numbers
        from collapse_lm.experiment.sources.replay import Replay as Way

        count = self.of.texts_for(context.config.sampling.batch_size)
        return Way(self.share, self.last, count, Numbers(context.seed, self.depth()))


class Filter(Wrapper):
    """Another source without the texts that break a limit; others are drawn in their place."""

    kind: Literal["filter"] = "filter"
    degenerate: bool = True
    """Reject a text that the collapse rule calls degenerate, by the thresholds of `collapse`."""
    least_entropy: Float | None = Field(default=None, gt=0)
    """Reject a text of whose tokens the model that drew it was more certain than this: mean
    predictive entropy in nats, at temperature 1; null does not ask."""
    least_perplexity: Float | None = Field(default=None, ge=1)
    """Reject a text whose perplexity under the model that drew it is below this; null does not
    ask."""
    keep: Int | None = Field(default=None, ge=1)
    """Texts of an update; null: as many as the source within gives, sampling.batch_size as a rule,
    so that all sources have as many."""
    most_draws: Int = Field(default=10, ge=1)
    """Draws of a batch in one update, at most. After these the newest rejected texts fill up."""

    @model_validator(mode="after")
    def _rejects(self) -> Self:
        if not self.degenerate and self.least_entropy is None and self.least_perplexity is None:
            expected = "one of degenerate, least_entropy and least_perplexity to reject by"
            raise PydanticCustomError("filter", "{expected}", {"expected": expected})
        return self

    def way(self, context: "Context") -> "Way":
        """Make what is done with the texts of the source within.

        Raises:
            UserError: for more texts than the draws can give, or a source within that gives
                the same texts again.
        """
        from collapse_lm.experiment.sources.filter import Filter as Way
        from collapse_lm.experiment.sources.filter import Limits, check_enough, check_others

        rule = context.config.collapse if self.degenerate else None
        limits = Limits(rule, self.least_entropy, self.least_perplexity)
        sampling = context.config.sampling
        check_others(self.of.same_again(sampling))
        keep = self.texts_for(sampling.batch_size)
        check_enough(keep, self.of.texts_for(sampling.batch_size), self.most_draws)
        return Way(limits, keep, self.most_draws)

    def texts_for(self, batch_size: int) -> int:
        """Those that it keeps."""
        return self.keep or self.of.texts_for(batch_size)


class GivenSource(Given, SourceConfig):
    """A source that was handed over from Python; a function is its `draw`."""

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources import FunctionSource

        made = self.make("source", context)
        if is_function(made, "draw"):
            return FunctionSource(made)
        return complete("source", made, "draw", "replay")  # type: ignore[no-any-return]


_KINDS = (Own, Frozen, Real, Shuffled, Mix, Replay, Filter, Generations)
SOURCES = Slot("source", SourceConfig, _KINDS, "collapse_lm.sources", GivenSource)
