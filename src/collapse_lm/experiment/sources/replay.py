"""Some of the texts of an update are earlier ones: data accumulate in place of being replaced."""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.around import Draw, with_texts
from collapse_lm.experiment.sources.numbers import Numbers, places

_ORIGIN = "replay:"
_Earlier = tuple[int, Text]  # the update, and a text that it was trained on


class Replay:
    """Earlier texts in place of a share of those from within.

    Each is drawn with equal chances, and with replacement, from the texts of earlier updates
    that came from within and were trained on. In update 1 there is none, and all are new.

    Args:
        share: of the texts of a batch; where that is no whole number, on average.
        last: updates that are remembered; None remembers all.
        count: texts of a batch from within.
        numbers: choose places and texts.
    """

    counts: ClassVar[Mapping[str, str]] = {"replay.texts": _ORIGIN}

    def __init__(self, share: float, last: int | None, count: int, numbers: Numbers) -> None:
        self._share, self._last, self._count = share, last, count
        self._numbers = numbers
        self._earlier: deque[_Earlier] = deque()
        self._update = 0

    def draw(self, at: Moment, of: Draw) -> Batch:
        """Texts from within, some of them replaced; nothing is drawn where all would be."""
        numbers = self._numbers.of(at)
        chosen = places(self._share, self._count, numbers) if self._earlier else []
        again = [self._one(numbers) for _ in chosen]
        batch = of(at) if len(chosen) < self._count else Batch()
        return with_texts(batch, chosen, again)

    def note(self, texts: tuple[Text, ...]) -> tuple[Text, ...]:
        """Remember those that are new: they come from within."""
        self._update += 1
        new = tuple(text for text in texts if not text.origin.startswith(_ORIGIN))
        self._earlier += [(self._update, Text(t.prompt, t.ids, t.origin)) for t in new]
        while self._last and self._earlier and self._earlier[0][0] <= self._update - self._last:
            self._earlier.popleft()
        return new

    def _one(self, numbers: torch.Generator) -> Text:
        place = int(torch.randint(len(self._earlier), (), generator=numbers))
        update, text = self._earlier[place]
        return replace(text, origin=f"{_ORIGIN}{update}")
