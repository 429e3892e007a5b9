"""What a callback is not told: its trainer, the loggers beside it, the texts that trainer sampled.

A trainer of transformers hands a callback model, state and control, not itself. It stands in
the frames that call the callback, though, and is looked for there, by what it holds and not by
its class: nothing of trl is imported. Where it is not found, a callback does without.
"""

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

import torch
from transformers import TrainerCallback


def handler_of(callback: Any) -> Any | None:
    """The object that calls a callback's hooks and those of others; asked for within a hook.

    Returns:
        What stands in a calling frame and has the callback in its list `callbacks`.
    """
    return next((o for o in _callers() if _holds(vars(o).get("callbacks"), callback)), None)


def trainer_of(handler: Any) -> Any | None:
    """The trainer whose handler of callbacks that is; asked for within a hook."""
    return next((o for o in _callers() if vars(o).get("callback_handler") is handler), None)


def _callers() -> Iterator[Any]:
    """The objects whose methods stand in the calling frames, from the innermost."""
    frame = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if hasattr(caller, "__dict__"):
            yield caller
        frame = frame.f_back  # type: ignore[assignment]


def _holds(callbacks: Any, callback: Any) -> bool:
    return isinstance(callbacks, list) and any(other is callback for other in callbacks)


def move_before_loggers(handler: Any, callback: Any) -> None:
    """Put a callback before the first that looks at logs, so that these see what it adds.

    Safe within a hook: that the list is being walked through makes nobody miss his turn, as
    the callback goes from the place that is reached to an earlier one.
    """
    callbacks = handler.callbacks
    first = next(place for place, other in enumerate(callbacks) if _reads_logs(other))
    here = next(place for place, other in enumerate(callbacks) if other is callback)
    if first < here:
        callbacks.insert(first, callbacks.pop(here))


def _reads_logs(callback: Any) -> bool:
    return getattr(type(callback), "on_log", None) is not TrainerCallback.on_log


@dataclass(frozen=True)
class Rollouts:
    """Texts that a trainer sampled to train on.

    Attributes:
        texts: strings, or token ids (with the end, where a text has one).
        clipped: for each text, whether it was cut before its end; None where that is not known.
        log_probs: for each text, nats of each token under the model that drew it; None where
            they are not kept.
    """

    texts: list[Any] = field(default_factory=list)
    clipped: list[bool] | None = None
    log_probs: list[list[float]] | None = None

    def __add__(self, other: "Rollouts") -> "Rollouts":
        """Both, in order; of what one of them lacks, nothing."""
        if not self.texts or not other.texts:
            return self if self.texts else other
        return Rollouts(
            [*self.texts, *other.texts],
            _joined(self.clipped, other.clipped),
            _joined(self.log_probs, other.log_probs),
        )


def _joined(one: list[Any] | None, other: list[Any] | None) -> list[Any] | None:
    return None if one is None or other is None else [*one, *other]


class Buffer:
    """The rollouts that a trainer of trl holds, each batch of them once.

    GRPO, RLOO, distillation and the trainers of self-distillation keep what they sampled last
    as `_buffered_inputs`, a list of batches with `completion_ids`. What an evaluation samples
    never goes there.
    """

    def __init__(self) -> None:
        self._seen: Any = lambda: None

    def new(self, trainer: Any, ends: Collection[int]) -> Rollouts | None:
        """What was sampled since the last call, by this process; None for nothing.

        Args:
            trainer: any; one that holds no such thing has no rollouts.
            ends: ids of tokens that end a text, or follow its end.
        """
        held = getattr(trainer, "_buffered_inputs", None)
        batches = [b for b in held if _is_sampled(b)] if isinstance(held, list) else []
        if not batches or self._seen() is batches[0]["completion_ids"]:
            return None
        self._seen = ref(batches[0]["completion_ids"])  # weak: it may lie on a GPU
        natural = getattr(trainer, "temperature", None) == 1
        parts = [_rollouts(batch, ends, natural) for batch in batches]
        return sum(parts[1:], parts[0])


def _is_sampled(batch: Any) -> bool:
    return isinstance(batch, Mapping) and isinstance(batch.get("completion_ids"), torch.Tensor)


def _rollouts(batch: Mapping[str, Any], ends: Collection[int], natural: bool) -> Rollouts:
    """Those of one batch; log-probabilities only of a temperature of 1, which are the model's."""
    rows = batch["completion_ids"].tolist()
    lengths = [length_of(row, ends) for row in rows]
    texts = _cut(rows, lengths)
    told = batch.get("old_per_token_logps") if natural else None
    kept = _cut(told.tolist(), lengths) if isinstance(told, torch.Tensor) else None
    return Rollouts(texts, [is_clipped(text, ends) for text in texts], kept)


def _cut(rows: list[list[Any]], lengths: list[int]) -> list[list[Any]]:
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def length_of(row: list[int], ends: Collection[int]) -> int:
    """The tokens of a padded row: up to the first end of those at its end, and that with it."""
    length = len(row)
    while length > 1 and row[length - 1] in ends and row[length - 2] in ends:
        length -= 1
    return length


def is_clipped(text: list[int], ends: Collection[int]) -> bool:
    """True for a text that does not end with an end."""
    return not text or text[-1] not in ends


def ends_of(tokenizer: Any, model: Any) -> set[int]:
    """The ids that end a text or pad it, of a tokenizer and of a model's generation."""
    told = [getattr(tokenizer, name, None) for name in ("eos_token_id", "pad_token_id")]
    more = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = [*told, *(more if isinstance(more, (list, tuple)) else [more])]
    return {number for number in ids if isinstance(number, int)}
