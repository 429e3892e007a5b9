"""Samples of the base model: sharpening without feedback."""

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.own import OwnSamples, as_batch


class FrozenSamples:
    """s_u ~ P(. | prompt, θ_0), with the random numbers that `own` has in the same update.

    At update 1 that is own's text. The base model stays in memory beside the one that is
    trained, in the precision of sampling.
    """

    def __init__(self, samples: OwnSamples) -> None:
        self._samples = samples

    def draw(self, at: Moment) -> Batch:
        """Sample from the base model."""
        network = at.models.base_sampler()
        return as_batch(self._samples.sample(network, at.update, at.attempt), "base")

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Let the look-up of speculation know earlier samples."""
        self._samples.replay(texts)
