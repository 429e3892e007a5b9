"""Configuration: frozen typed models, presets, overrides. Imports no torch."""

from collapse_lm.config.load import (
    load_config,
    preset_names,
    resolve,
    to_yaml,
)
from collapse_lm.config.schema import (
    CollapseConfig,
    Config,
    EvaluationConfig,
    RunConfig,
    SamplingConfig,
    TrainingConfig,
)

__all__ = [
    "CollapseConfig",
    "Config",
    "EvaluationConfig",
    "RunConfig",
    "SamplingConfig",
    "TrainingConfig",
    "load_config",
    "preset_names",
    "resolve",
    "to_yaml",
]
