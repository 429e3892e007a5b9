"""The tokens of each text in another order: what a model learns of words without their order."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.around import SHUFFLED, Draw
from collapse_lm.experiment.sources.numbers import Numbers


class Shuffled:
    """Each text is permuted by itself, uniformly; prompts stay."""

    counts: ClassVar[Mapping[str, str]] = {}

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def draw(self, at: Moment, of: Draw) -> Batch:
        """The texts from within, each permuted.

        They lose the numbers of each token, which were those of another text.
        """
        batch, numbers = of(at), self._numbers.of(at)
        return replace(batch, texts=tuple(_permuted(text, numbers) for text in batch.texts))

    def note(self, texts: tuple[Text, ...]) -> tuple[Text, ...]:
        """All come from within."""
        return tuple(replace(t, origin=t.origin.removeprefix(SHUFFLED)) for t in texts)


def _permuted(text: Text, numbers: torch.Generator) -> Text:
    order = torch.randperm(len(text.ids), generator=numbers).tolist()
    ids = tuple(text.ids[place] for place in order)
    return Text(text.prompt, ids, f"{SHUFFLED}{text.origin}", prompt_text=text.prompt_text)
