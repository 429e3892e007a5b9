"""Number formats by phase of an update; one word stands for all three."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import model_serializer
from pydantic_core import PydanticCustomError

from collapse_lm.config.fields import Section

Word = Literal["auto", "float32", "bfloat16"]
PHASES = ("sampling", "training", "evaluation")


class PrecisionConfig(Section):
    """Number formats by phase; the master weights are float32 in any case."""

    sampling: Word = "auto"
    """Weights that samples are drawn from. auto: stored in bfloat16 where compiled passes read them
    (GPT-2 and Llama on x86-64 with AVX2), or where the hardware multiplies bfloat16."""
    training: Word = "auto"
    """Products of a step. auto: bfloat16 (autocast) where the hardware multiplies it."""
    evaluation: Word = "auto"
    """Weights and products of validation losses. auto: as training."""

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        return together(self.words)

    @property
    def words(self) -> dict[str, str]:
        """What was asked for, by phase."""
        return {phase: getattr(self, phase) for phase in PHASES}


def together(words: Mapping[str, str]) -> str | dict[str, str]:
    """One word where all phases have the same, else the words by phase."""
    return words[PHASES[0]] if len(set(words.values())) == 1 else dict(words)


def by_phase(value: Any) -> Any:
    """The words by phase that one word stands for; anything else as it is."""
    return dict.fromkeys(PHASES, value) if value in get_args(Word) else value


def word_or_phases(value: object) -> object:
    """A validator of what stands under `precision`."""
    if isinstance(value, (Mapping, PrecisionConfig)) or value in get_args(Word):
        return by_phase(value)
    raise PydanticCustomError("precision", "auto, float32 or bfloat16; or these by phase")
