"""The base of all kinds of source: what a run must know of any of them."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from collapse_lm.config.slots import Part

if TYPE_CHECKING:
    from collapse_lm.config.sections import SamplingConfig
    from collapse_lm.experiment.build import Context
    from collapse_lm.experiment.sources import Source


class SourceConfig(Part, ABC):
    """Where the text of an update comes from."""

    is_own: ClassVar[bool] = False
    """True where a batch is drawn from the current model alone, so that it can be the probe."""
    is_told: ClassVar[bool] = False
    """True where the source, made by `within`, takes note of texts only when it is told of them."""
    stands_alone: ClassVar[bool] = False
    """True where no other source can stand around it."""
    counts_updates: ClassVar[bool] = False
    """True where its batches tell which update of a generation they are for."""

    @abstractmethod
    def build(self, context: "Context") -> "Source":
        """Make the source."""

    def within(self, context: "Context") -> "Source":
        """Make it as a source within another; see `is_told`."""
        return self.build(context)

    def corpora(self) -> tuple[str, ...]:
        """References of the corpora that it reads."""
        return ()

    def texts_for(self, batch_size: int) -> int:
        """How many texts it gives in an update, for a `sampling.batch_size`."""
        return batch_size

    def same_again(self, sampling: "SamplingConfig") -> str:
        """What gives the same texts when asked again in an update, in words; empty if nothing."""
        return ""

    def length(self, batch_size: int) -> int | None:
        """Updates that it is made for, which `run.max_updates` then is; None: it has no end."""
        return None

    def longest_prompt(self, length: int) -> int:
        """Tokens of the longest prompt of its own, beside those of `sampling`.

        Args:
            length: of a text, in tokens.
        """
        return 0
