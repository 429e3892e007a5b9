"""What a step minimises. One file per objective."""

from collapse_lm.experiment.objectives.base import Chunk, FunctionObjective, Objective, Telling
from collapse_lm.experiment.objectives.nll import NegativeLogLikelihood

__all__ = ["Chunk", "FunctionObjective", "NegativeLogLikelihood", "Objective", "Telling"]
