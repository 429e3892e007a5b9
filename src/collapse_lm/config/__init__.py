"""Configuration: frozen typed models, presets, overrides. Imports no torch."""

from collapse_lm.config.identity import (
    IDENTITY_VERSION,
    LENGTH,
    MOVED,
    decides_numbers,
    flat,
    identity,
    identity_1,
)
from collapse_lm.config.keys import field_of
from collapse_lm.config.load import (
    Overrides,
    load_config,
    preset_names,
    resolve,
    to_yaml,
    words_of,
)
from collapse_lm.config.parts import (
    AnyMeasure,
    AnyObjective,
    AnySource,
    MeasureConfig,
    ObjectiveConfig,
    ObserverConfig,
    OptimizerConfig,
    SourceConfig,
)
from collapse_lm.config.schema import Config, TrainingConfig
from collapse_lm.config.sections import (
    CollapseConfig,
    CollapseRule,
    EvaluationConfig,
    ProbeConfig,
    RunConfig,
    SamplingConfig,
)

__all__ = [
    "IDENTITY_VERSION",
    "LENGTH",
    "MOVED",
    "AnyMeasure",
    "AnyObjective",
    "AnySource",
    "CollapseConfig",
    "CollapseRule",
    "Config",
    "EvaluationConfig",
    "MeasureConfig",
    "ObjectiveConfig",
    "ObserverConfig",
    "OptimizerConfig",
    "Overrides",
    "ProbeConfig",
    "RunConfig",
    "SamplingConfig",
    "SourceConfig",
    "TrainingConfig",
    "decides_numbers",
    "field_of",
    "flat",
    "identity",
    "identity_1",
    "load_config",
    "preset_names",
    "resolve",
    "to_yaml",
    "words_of",
]
