"""What a step minimises. One file per objective."""

from collapse_lm.experiment.objectives.base import Chunk, Objective
from collapse_lm.experiment.objectives.nll import NegativeLogLikelihood

__all__ = ["Chunk", "NegativeLogLikelihood", "Objective"]
