"""What an update trains on, and what it is judged by: texts with their origin. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from collapse_lm.measures.names import Number, Row


@dataclass(frozen=True)
class Text:
    """One text of an update.

    Attributes:
        prompt: token ids before the text: context, never a target.
        ids: token ids of the text.
        origin: where it comes from: own, base, corpus:NAME, replay:UPDATE, ...
        text: the ids decoded; filled in by the loop where a source leaves it empty.
        log_probs: log p (nats) of each id under the model that drew it, at temperature 1
            and unfiltered; empty for a text that no model drew.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    origin: str
    text: str = ""
    log_probs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Batch:
    """The texts of an update, or of a probe.

    Attributes:
        texts: in order.
        values: numbers that the source has to tell, by the name of their column in the
            row: draw.entropy, filter.rejected, ...
    """

    texts: tuple[Text, ...] = ()
    values: Mapping[str, Number] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens of all texts together, prompts excluded."""
        return sum(len(text.ids) for text in self.texts)


@dataclass(frozen=True)
class Record:
    """Everything that is known of an update once it is over.

    Attributes:
        row: its numbers.
        batch: what was trained on; empty at update 0.
        probe: what was judged; the batch itself under source own, empty where the update
            has no probe.
    """

    row: Row
    batch: Batch = Batch()
    probe: Batch = Batch()

    @property
    def update(self) -> int:
        """Number of the update, 0 for the base model."""
        return self.row.update

    @property
    def has_own_probe(self) -> bool:
        """True where the probe was drawn apart from the batch."""
        return bool(self.probe.texts) and self.probe is not self.batch
