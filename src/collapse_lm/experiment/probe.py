"""The probe: samples of the current model that the rule and the text measures look at.

Under the source `own` the batch is the probe, at no cost. Under any other it is drawn
apart, with the sampling settings of the run and a random stream of its own, so that all
arms of an experiment are judged by the same kind of sample.
"""

from dataclasses import dataclass

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.own import OwnSamples


@dataclass(frozen=True)
class Probe:
    """Decides what an update is judged by.

    Attributes:
        every: updates between two probes.
        samples: draws the probe; None where the batch is it.
    """

    every: int = 1
    samples: OwnSamples | None = None

    def draw(self, at: Moment, batch: Batch) -> Batch:
        """Return the probe of an update, θ_{u-1}'s; an empty batch where it has none."""
        if at.update % self.every:
            return Batch()
        if self.samples is None:
            return batch
        drawn = self.samples.draw(at)
        told = {n: value for n, value in drawn.values.items() if n.startswith("draw.")}
        return Batch(drawn.texts, {n.replace("draw.", "probe."): v for n, v in told.items()})

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Take note of the probe of an earlier update."""
        if self.samples is not None:
            self.samples.replay(texts)


EACH_UPDATE = Probe()  # the batch of each update is its probe
