"""Where the text of the next update comes from. One file per source."""

from collapse_lm.experiment.sources.base import Source
from collapse_lm.experiment.sources.own import OwnSamples, Sampling

__all__ = ["OwnSamples", "Sampling", "Source"]
