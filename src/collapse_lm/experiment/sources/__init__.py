"""Where the text of the next update comes from. One file per source."""

from collapse_lm.experiment.sources.around import Around
from collapse_lm.experiment.sources.base import FunctionSource, Source
from collapse_lm.experiment.sources.own import OwnSamples, Sampling

__all__ = ["Around", "FunctionSource", "OwnSamples", "Sampling", "Source"]
