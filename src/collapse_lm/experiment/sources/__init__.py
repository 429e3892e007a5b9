"""Where the text of the next update comes from. One file per source; wrappers compose."""

from collapse_lm.experiment.sources.base import Source
from collapse_lm.experiment.sources.own import OwnSamples

__all__ = ["OwnSamples", "Source"]
