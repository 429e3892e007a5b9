"""A source around another: what is drawn within is changed, mixed or left out.

Sources nest freely. One within another takes note of nothing while it draws: what became
of its texts (some may have been left out) is told to it once the outermost source has its
batch, in the same words as at a resume. So a resumed run knows what an unbroken one does.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

from collapse_lm.experiment.batch import Batch, Text, checked
from collapse_lm.experiment.models import Moment, Saved, Stateful
from collapse_lm.experiment.sources.base import Source
from collapse_lm.measures.names import Number

Draw = Callable[[Moment], Batch]
# Per token; other numbers of a draw add up.
_MEANS = ("draw.entropy", "draw.sampling_entropy", "draw.top1")
SHUFFLED = "shuffled:"  # before the origin of a text whose tokens are in another order


class Way(Protocol):
    """What a wrapper does with the texts of the source within it.

    Attributes:
        counts: numbers of the row that it asks for: how many texts of the update have an
            origin that begins so, by name.
    """

    counts: ClassVar[Mapping[str, str]]

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
        """The texts of an update; counted where no source around may still replace some."""
        batch = self._way.draw(at, lambda moment: checked(self._of.draw(moment)))
        if not self._is_outermost:
            return batch
        self.tell(batch.texts)
        return replace(batch, values={**batch.values, **_counted(batch.texts, self.counts)})

    @property
    def counts(self) -> Mapping[str, str]:
        """What this source and those within ask to count."""
        within = self._of.counts if isinstance(self._of, Around) else {}
        return {**within, **self._way.counts}

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


def together(batches: Sequence[Batch]) -> dict[str, Number]:
    """The numbers of several batches that were drawn for one update."""
    names = dict.fromkeys(name for batch in batches for name in batch.values)
    return {name: _joined(name, [b for b in batches if name in b.values]) for name in names}


def _joined(name: str, batches: Sequence[Batch]) -> Number:
    """One number of several batches; of a single one its own, to the last digit."""
    if len(batches) > 1 and name in _MEANS:
        total = sum(batch.values[name] * batch.tokens for batch in batches)
        return total / sum(batch.tokens for batch in batches)
    return sum(batch.values[name] for batch in batches)


def _counted(texts: Sequence[Text], counts: Mapping[str, str]) -> dict[str, Number]:
    """Texts by the beginning of their origin, whatever the order of their tokens."""
    return {
        name: sum(bool(re.match(f"(?:{SHUFFLED})*{origin}", text.origin)) for text in texts)
        for name, origin in counts.items()
    }
