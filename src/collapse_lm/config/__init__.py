"""Configuration: frozen typed models, presets, overrides. Imports no torch."""

from collapse_lm.config.identity import LENGTH, flat, identity
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
    "LENGTH",
    "CollapseConfig",
    "Config",
    "EvaluationConfig",
    "RunConfig",
    "SamplingConfig",
    "TrainingConfig",
    "flat",
    "identity",
    "load_config",
    "preset_names",
    "resolve",
    "to_yaml",
]
