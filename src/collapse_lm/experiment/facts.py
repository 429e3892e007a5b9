"""The numbers of an update that follow from its batch, its probe and its step."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import SupportsFloat

from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.learner import Step
from collapse_lm.experiment.models import Stateful
from collapse_lm.measures.base import Measure
from collapse_lm.measures.names import Number
from collapse_lm.measures.text import measure_samples, text_values

Decode = Callable[[Sequence[Sequence[int]]], Sequence[str]]
_RESERVED = {"update", "nonfinite", "validation"}  # keys of a line of updates.jsonl, or once were


def spelled(batch: Batch, decode: Decode) -> Batch:
    """The same texts, those and their prompts decoded that a source left as token ids."""
    decoded = decode([text.ids for text in batch.texts])
    prompts = decode([text.prompt if len(text.prompt) > 1 else () for text in batch.texts])
    texts = map(_spelled, batch.texts, decoded, prompts)
    return replace(batch, texts=tuple(texts))


def _spelled(text: Text, words: str, prompt: str) -> Text:
    return replace(text, text=text.text or words, prompt_text=text.prompt_text or prompt)


def facts(batch: Batch, probe: Batch, step: Step) -> dict[str, Number]:
    """What is known of an update before the new model is measured."""
    values: dict[str, Number] = {
        "train.loss": step.loss,
        "train.grad_norm": step.grad_norm,
        "train.lr": step.learning_rate,
        "train.tokens": batch.tokens,
        "train.steps": step.steps,
    }
    add(values, batch.values, "source")
    if not step.applied:
        values["train.applied"] = 0
    if not probe.texts:
        return values
    if probe is batch:
        values["probe.loss"] = mean_loss(probe) if step.is_noisy else step.loss
        for name in ("entropy", "sampling_entropy"):
            values[f"probe.{name}"] = batch.values.get(f"draw.{name}", math.nan)
    else:
        add(values, {**probe.values, "probe.loss": mean_loss(probe)}, "probe")
    return values | text_metrics(probe)


def text_metrics(probe: Batch) -> dict[str, Number]:
    """The text metrics of a probe, by the names of their columns."""
    samples = [text.ids for text in probe.texts]
    return text_values(measure_samples(samples, [text.text for text in probe.texts]))


def is_due(measure: Measure, update: int, *, is_last: bool) -> bool:
    """True where an update is measured: on schedule, and at the end.

    The end has no measurement of its own by one that remembers: what it knows must not
    depend on where a run was once cut.
    """
    return update % measure.every == 0 or (is_last and not isinstance(measure, Stateful))


def add(values: dict[str, Number], more: Mapping[str, object], of: object) -> None:
    """Add what a part tells to the numbers of a row.

    Raises:
        UserError: for what is no mapping, for a name that the row has already or that a row
            cannot have, and for a value that is no number.
    """
    if not isinstance(more, Mapping):
        raise _refused(of, f"{more!r}"[:80], "numbers by name: {'my.name': value}")
    for name, value in more.items():
        if name in values or name in _RESERVED:
            raise _refused(of, f"the name {name!r}", "a name that the row does not have yet")
        if not isinstance(value, SupportsFloat):
            raise _refused(of, f"{name} = {value!r}"[:80], "a number")
        values[name] = _plain(value)


def _plain(value: SupportsFloat) -> Number:
    """A number of numpy or torch, or a truth value, as Python's."""
    if isinstance(value, (bool, int)):
        return int(value)
    return float(value)


def _refused(of: object, got: str, expected: str) -> UserError:
    return UserError.single(f"numbers of {_name(of)}", got, expected, "see docs/extending.md")


def _name(of: object) -> str:
    return of if isinstance(of, str) else str(getattr(of, "name", type(of).__qualname__))


def mean_loss(probe: Batch) -> float:
    """Mean of -log p over all tokens of a probe, under the model that drew it; else NaN."""
    if not all(text.log_probs for text in probe.texts):
        return math.nan
    return -sum(sum(text.log_probs) for text in probe.texts) / probe.tokens
