"""Every place of an experiment, with its kinds of part, as configurations that build them.

One class per kind (`kinds/`): its fields are the part's settings, `build` makes it. Parts of
other packages subclass the same bases (see `slots`). Knows nothing of what the parts do.
"""

from collapse_lm.config.kinds.measure import MEASURES, AnyMeasure, AnyMeasures, MeasureConfig
from collapse_lm.config.kinds.objective import OBJECTIVES, AnyObjective, Nll, ObjectiveConfig
from collapse_lm.config.kinds.observer import OBSERVERS, AnyObservers, ObserverConfig, Pictures
from collapse_lm.config.kinds.optimizer import OPTIMIZERS, AdamW, AnyOptimizer, OptimizerConfig
from collapse_lm.config.kinds.source import SOURCES, AnySource, Own
from collapse_lm.config.kinds.source_config import SourceConfig

SLOTS = (SOURCES, OBJECTIVES, OPTIMIZERS, MEASURES, OBSERVERS)

__all__ = [
    "MEASURES",
    "OBJECTIVES",
    "OBSERVERS",
    "OPTIMIZERS",
    "SLOTS",
    "SOURCES",
    "AdamW",
    "AnyMeasure",
    "AnyMeasures",
    "AnyObjective",
    "AnyObservers",
    "AnyOptimizer",
    "AnySource",
    "MeasureConfig",
    "Nll",
    "ObjectiveConfig",
    "ObserverConfig",
    "OptimizerConfig",
    "Own",
    "Pictures",
    "SourceConfig",
]
