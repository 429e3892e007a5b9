"""Toys in generations: data that accumulate, and what a generation has left.

A source and two measures that are handed over from Python, as any user's are:

    collapse_lm.run("quickstart", overrides=[...], source=Accumulated,
                    optimizer=GaussianLikelihood, measures=moments)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.sources import OwnSamples
from collapse_lm.measures.names import Number

if TYPE_CHECKING:
    from collapse_lm.experiment.build import Context
    from collapse_lm.experiment.models import Moment

_EARLIER = "replay:all"


class Accumulated:
    """All text so far: what the current model draws now, and what its forebears drew before.

    The earlier texts are one text without borders, as a toy sees no context; an update trains
    on all of them (Kazdan et al. 2024, arXiv 2410.22812, "accumulate"; the source `replay` has
    a share of them in a batch of constant size).
    """

    def __init__(self, context: "Context") -> None:
        self._own = OwnSamples(context.sampling())
        self._drawn: list[tuple[Text, ...]] = []  # by update

    def draw(self, at: "Moment") -> Batch:
        """New samples, before them all earlier ones."""
        batch = self._own.draw(at)
        del self._drawn[at.update - 1 :]
        earlier = tuple(token for texts in self._drawn for text in texts for token in text.ids)
        self._drawn.append(batch.texts)
        before = [Text(batch.texts[0].prompt, earlier, _EARLIER)] if earlier else []
        return replace(batch, texts=(*before, *batch.texts))

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Take note of an earlier update."""
        new = tuple(text for text in texts if text.origin != _EARLIER)
        self._own.replay(new)
        self._drawn.append(new)


def heterozygosity(at: "Moment", batch: Batch, probe: Batch) -> Mapping[str, Number]:
    """How probable it is that two words of a unigram differ: 1 - sum of p^2."""
    with torch.inference_mode():
        p_V = at.models.trained.logits_V().double().softmax(0)
        return {"toy.heterozygosity": float(1 - (p_V**2).sum())}


def moments(at: "Moment", batch: Batch, probe: Batch) -> Mapping[str, Number]:
    """Mean and variance of a Gaussian, by its parameters."""
    network = at.models.trained
    mean, log_deviation = (p.detach().double() for p in (network.mean, network.log_deviation))
    return {"toy.mean": float(mean), "toy.variance": float((2 * log_deviation).exp())}
