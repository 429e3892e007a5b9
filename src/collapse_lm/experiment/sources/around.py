"""A source around another: what is drawn within is changed, mixed or left out.

Sources nest freely. One within another takes note of nothing while it draws: what became
of its texts (some may have been left out) is told to it once the outermost source has its
batch, in the same words as at a resume. So a resumed run knows what an unbroken one does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from collapse_lm.experiment.batch import Batch, Text, checked
from collapse_lm.experiment.models import Moment, Saved, Stateful
from collapse_lm.experiment.sources.base import Source
from collapse_lm.measures.names import Number

Draw = Callable[[Moment], Batch]
# Per token; other numbers of a draw add up.
_MEANS = ("draw.entropy", "draw.sampling_entropy", "draw.top1")
_ORIGINS = {"mix.real": "corpus:", "replay.texts": "replay:"}  # counts, and what they count


class Way(Protocol):
    """What a wrapper does with the texts of the source within it."""

    def draw(self, at: Moment, of: Draw) -> Batch:
        """The batch of an update; `of` draws from the source within, never, once or often."""
        ...

    def note(self, texts: tuple[Text, ...]) -> tuple[Text, ...]:
        """Take note of the texts of an update that is over, this source's part of the batch.

        Asked once for every update, in order. Returns the texts that came from within.
        """
        ...


class Around:
    """A source around another.

    Args:
        of: the source within.
        way: what is done with its texts.
        tells: the source within takes note only when told; False for one of another package,
            which takes note while it draws, and is told only at a resume.
        is_outermost: no source is around this one.
    """

    def __init__(self, of: Source, way: Way, *, tells: bool, is_outermost: bool) -> None:
        self._of, self._way = of, way
        self._tells, self._is_outermost = tells, is_outermost

    def draw(self, at: Moment) -> Batch:
        """The texts of an update."""
        batch = self._way.draw(at, lambda moment: checked(self._of.draw(moment)))
        if self._is_outermost:
            self.tell(batch.texts)
        return batch

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Take note of an earlier update."""
        self.tell(texts, is_resumed=True)

    def tell(self, texts: tuple[Text, ...], *, is_resumed: bool = False) -> None:
        """Tell this source, and those within, what became of their texts."""
        own = self._way.note(texts)
        if isinstance(self._of, Around):
            self._of.tell(own, is_resumed=is_resumed)
        elif self._tells or is_resumed:
            self._of.replay(own)

    def state(self) -> Saved:
        """What a source of another package within remembers."""
        return self._of.state() if isinstance(self._of, Stateful) else {}

    def load(self, state: Saved) -> None:
        """Give it back."""
        if isinstance(self._of, Stateful):
            self._of.load(state)


def with_texts(batch: Batch, places: Sequence[int], texts: Sequence[Text]) -> Batch:
    """A batch with other texts at some places; those past its end follow it."""
    found = list(batch.texts)
    for place, text in zip(places, texts, strict=True):
        found[place : place + 1] = [text]
    return replace(batch, texts=tuple(found))


def counted(values: Mapping[str, Number], texts: Sequence[Text], name: str) -> dict[str, Number]:
    """Numbers of a source with one more: the texts whose origin a name counts."""
    found = sum(text.origin.startswith(_ORIGINS[name]) for text in texts)
    return {**values, name: found}


def together(batches: Sequence[Batch], kept: Sequence[Text]) -> dict[str, Number]:
    """The numbers of several batches, drawn for one update, of which some texts are kept."""
    found: dict[str, Number] = {}
    for name in dict.fromkeys(name for batch in batches for name in batch.values):
        having = [batch for batch in batches if name in batch.values]
        if name in _ORIGINS:
            found = counted(found, kept, name)
        else:
            found[name] = _joined(name, having)
    return found


def _joined(name: str, batches: Sequence[Batch]) -> Number:
    """One number of several batches; of a single one its own, to the last digit."""
    if len(batches) > 1 and name in _MEANS:
        total = sum(batch.values[name] * batch.tokens for batch in batches)
        return total / sum(batch.tokens for batch in batches)
    return sum(batch.values[name] for batch in batches)
