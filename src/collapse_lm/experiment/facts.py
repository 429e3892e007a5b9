"""The numbers of an update that follow from its batch, its probe and its step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.learner import Step
from collapse_lm.measures.names import Number
from collapse_lm.measures.text import measure_samples, text_values

Decode = Callable[[Sequence[Sequence[int]]], Sequence[str]]


def spelled(batch: Batch, decode: Decode) -> Batch:
    """The same texts, those decoded that a source left as token ids."""
    decoded = decode([text.ids for text in batch.texts])
    pairs = zip(batch.texts, decoded, strict=True)
    return replace(batch, texts=tuple(replace(t, text=t.text or words) for t, words in pairs))


def facts(batch: Batch, probe: Batch, step: Step, learning_rate: float) -> dict[str, Number]:
    """What is known of an update before the new model is measured."""
    values: dict[str, Number] = {
        "train.loss": step.loss,
        "train.grad_norm": step.grad_norm,
        "train.lr": learning_rate,
        "train.tokens": batch.tokens,
        "train.steps": step.steps,
        **batch.values,
    }
    if not step.applied:
        values["train.applied"] = 0
    if not probe.texts:
        return values
    if probe is batch:
        values |= {
            "probe.loss": step.loss,
            "probe.entropy": batch.values.get("draw.entropy", math.nan),
        }
    else:
        values |= {**probe.values, "probe.loss": _mean_loss(probe)}
    samples = [text.ids for text in probe.texts]
    return values | text_values(measure_samples(samples, [text.text for text in probe.texts]))


def _mean_loss(probe: Batch) -> float:
    """Mean of -log p over all tokens of a probe, under the model that drew it."""
    return -sum(sum(text.log_probs) for text in probe.texts) / probe.tokens
