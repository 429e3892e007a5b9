"""The kinds of source: where the text of an update comes from. One class per kind."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, SerializeAsAny

from collapse_lm.config.given import Given, complete, is_function
from collapse_lm.config.slots import Part, Slot, chooser

if TYPE_CHECKING:
    from collapse_lm.experiment.build import Context
    from collapse_lm.experiment.sources import Source


class SourceConfig(Part, ABC):
    """Where the text of an update comes from."""

    is_own: ClassVar[bool] = False
    """True where a batch is drawn from the current model alone, so that it can be the probe."""

    @abstractmethod
    def build(self, context: "Context") -> "Source":
        """Make the source."""


def _chosen(value: object) -> object:
    return chooser(SOURCES)(value)


AnySource = Annotated[SerializeAsAny[SourceConfig], BeforeValidator(_chosen)]
"""A source by its kind; wrappers hold another."""


class Own(SourceConfig):
    """The paper's source: samples that the current model draws itself (see `sampling`)."""

    is_own: ClassVar[bool] = True
    kind: Literal["own"] = "own"

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources.own import OwnSamples

        return OwnSamples(context.sampling())


class GivenSource(Given, SourceConfig):
    """A source that was handed over from Python; a function is its `draw`."""

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources import FunctionSource

        made = self.make("source", context)
        if is_function(made, "draw"):
            return FunctionSource(made)
        return complete("source", made, "draw", "replay")  # type: ignore[no-any-return]


SOURCES = Slot("source", SourceConfig, (Own,), "collapse_lm.sources", GivenSource)
