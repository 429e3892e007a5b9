"""Some of the texts of an update are human."""

from collections.abc import Mapping
from typing import ClassVar

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.around import Draw, with_texts
from collapse_lm.experiment.sources.numbers import Numbers, places
from collapse_lm.experiment.sources.real import RealText


class Mix:
    """Real text in place of a share of the texts from within.

    Args:
        real: gives as many texts as are wanted; its `count` is that of a batch from within.
        share: of the texts of a batch; where that is no whole number, on average.
        numbers: choose which.
    """

    counts: ClassVar[Mapping[str, str]] = {"mix.real": "corpus:"}

    def __init__(self, real: RealText, share: float, numbers: Numbers) -> None:
        self._real, self._share, self._numbers = real, share, numbers

    def draw(self, at: Moment, of: Draw) -> Batch:
        """Texts from within, some of them replaced; nothing is drawn where all would be."""
        count = self._real.count
        chosen = places(self._share, count, self._numbers.of(at))
        batch = of(at) if len(chosen) < count else Batch()
        return with_texts(batch, chosen, self._real.texts(at, len(chosen)))

    def note(self, texts: tuple[Text, ...]) -> tuple[Text, ...]:
        """All but the real ones come from within."""
        return tuple(text for text in texts if text.origin != self._real.origin)
