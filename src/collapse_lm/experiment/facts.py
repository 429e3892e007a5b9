"""The numbers of an update that follow from its batch, its probe and its step."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import SupportsFloat

from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Text, numbers_of
from collapse_lm.experiment.ends import Decode, token_ends
from collapse_lm.experiment.learner import Step
from collapse_lm.experiment.models import Moment, Stateful
from collapse_lm.measures.base import Measure, SeesStep, TokenMeasure
from collapse_lm.measures.names import Number
from collapse_lm.measures.text import measure_samples, text_values

_RESERVED = {"update", "nonfinite", "validation"}  # keys of a line of updates.jsonl, or once were


def spelled(batch: Batch, decode: Decode) -> Batch:
    """The same texts, those and their prompts decoded that a source left as token ids.

    Each is told where its tokens end, too.
    """
    samples = [text.ids for text in batch.texts]
    decoded = decode(samples)
    words = [text.text or own for text, own in zip(batch.texts, decoded, strict=True)]
    prompts = decode([text.prompt if len(text.prompt) > 1 else () for text in batch.texts])
    texts = map(_spelled, batch.texts, words, prompts, token_ends(samples, words, decode))
    return replace(batch, texts=tuple(texts))


def _spelled(text: Text, words: str, prompt: str, ends: tuple[int, ...]) -> Text:
    prompt = text.prompt_text or prompt
    return replace(text, text=words, prompt_text=prompt, ends=text.ends or ends)


def before_step(measures: Sequence[Measure], at: Moment) -> None:
    """Show the weights before the steps to the measures of an update that need them."""
    for measure in measures:
        if isinstance(measure, SeesStep) and is_due(measure, at.update, is_last=False):
            measure.before_step(at)


def marked(measure: Measure, at: Moment, batch: Batch, probe: Batch) -> tuple[Batch, Batch]:
    """Batch and probe with the numbers per token that a measure has, if it has any.

    A batch that is its probe stays it.

    Raises:
        UserError: for anything but one number for each id of each text.
    """
    if not probe.texts or not isinstance(measure, TokenMeasure):
        return batch, probe
    told = measure.token_values(at, probe)
    if not isinstance(told, Mapping):
        raise _refused(measure, f"{told!r}"[:80], "values of tokens by name")
    found = probe
    for name, rows in told.items():
        if not isinstance(rows, Sequence) or len(rows) != len(probe.texts):
            raise _refused(measure, f"{name} = {rows!r}"[:80], "a row of numbers for each text")
        where = f"{name} of {_name(measure)}"
        texts = [
            _with(text, name, numbers_of(text, row, where))
            for text, row in zip(found.texts, rows, strict=True)
        ]
        found = replace(found, texts=tuple(texts))
    return (found if probe is batch else batch), found


def _with(text: Text, name: str, values: tuple[float, ...]) -> Text:
    if name == "base_log_probs":
        return replace(text, base_log_probs=values)
    return replace(text, per_token={**text.per_token, name: values})


def facts(batch: Batch, probe: Batch, step: Step) -> dict[str, Number]:
    """What is known of an update before the new model is measured."""
    values: dict[str, Number] = {
        "train.loss": step.loss,
        "train.grad_norm": step.grad_norm,
        "train.lr": step.learning_rate,
        "train.tokens": batch.tokens,
        "train.steps": step.steps,
    }
    if step.objective is not None:
        values["train.objective"] = step.objective
    add(values, step.told, "objective")
    add(values, batch.values, "source")
    if not step.applied:
        values["train.applied"] = 0
    if not probe.texts:
        return values
    if probe is batch:
        values["probe.loss"] = mean_loss(probe) if step.is_noisy else step.loss
        for name in ("entropy", "sampling_entropy", "top1"):
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
