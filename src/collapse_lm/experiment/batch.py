"""What an update trains on, and what it is judged by: texts with their origin. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from collapse_lm.errors import UserError
from collapse_lm.measures.names import Number, Row
from collapse_lm.measures.text import plain_ids


@dataclass(frozen=True)
class Text:
    """One text of an update.

    Attributes:
        prompt: token ids before the text: context, never a target.
        ids: token ids of the text.
        origin: where it comes from: own, base, corpus:NAME, replay:UPDATE, ...
        text: the ids decoded; filled in by the loop where a source leaves it empty.
        log_probs: log p (nats) of each id under the model that drew it, at temperature 1
            and unfiltered; empty for a text that no model drew.
        prompt_text: the prompt decoded, where it is more than a start token; filled in by
            the loop likewise.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    origin: str
    text: str = ""
    log_probs: tuple[float, ...] = ()
    prompt_text: str = ""


@dataclass(frozen=True)
class Batch:
    """The texts of an update, or of a probe.

    Attributes:
        texts: in order.
        values: numbers that the source has to tell, by the name of their column in the
            row: draw.entropy, filter.rejected, ...
    """

    texts: tuple[Text, ...] = ()
    values: Mapping[str, Number] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens of all texts together, prompts excluded."""
        return sum(len(text.ids) for text in self.texts)


@dataclass(frozen=True)
class Record:
    """Everything that is known of an update once it is over.

    Attributes:
        row: its numbers.
        batch: what was trained on; empty at update 0.
        probe: what was judged; the batch itself under source own, empty where the update
            has no probe.
    """

    row: Row
    batch: Batch = Batch()
    probe: Batch = Batch()

    @property
    def update(self) -> int:
        """Number of the update, 0 for the base model."""
        return self.row.update

    @property
    def has_own_probe(self) -> bool:
        """True where the probe was drawn apart from the batch."""
        return bool(self.probe.texts) and self.probe is not self.batch


def checked(batch: Any, where: str = "source") -> Batch:
    """What code of others gives as a batch, with ids and log-probabilities as plain numbers.

    Raises:
        UserError: for anything but a `Batch` of `Text`s.
    """
    if not isinstance(batch, Batch):
        raise _refused(where, batch, "a Batch", "return Batch((text, ...))")
    if not isinstance(batch.texts, (tuple, list)):
        raise _refused(f"{where}, texts", batch.texts, "several texts", "Batch((text,))")
    if not isinstance(batch.values, Mapping):
        raise _refused(f"{where}, values", batch.values, "numbers by name", "Batch(texts, {})")
    return replace(batch, texts=tuple(_checked(text, where) for text in batch.texts))


def _checked(text: Any, where: str) -> Text:
    if not isinstance(text, Text):
        fix = "Text(prompt=(start_token,), ids=ids, origin='corpus:NAME')"
        raise _refused(f"{where}, texts", text, "a Text", fix)
    for name in ("origin", "text", "prompt_text"):
        if not isinstance(getattr(text, name), str):
            raise _refused(f"{where}, {name}", getattr(text, name), "a string")
    return replace(
        text,
        prompt=plain_ids(text.prompt, f"{where}, prompt"),
        ids=plain_ids(text.ids, f"{where}, ids"),
        log_probs=_log_probs(text, where),
    )


def _log_probs(text: Text, where: str) -> tuple[float, ...]:
    try:
        found = tuple(map(float, text.log_probs))
    except (TypeError, ValueError):
        raise _refused(f"{where}, log_probs", text.log_probs, "numbers") from None
    if len(found) not in (0, len(text.ids)):
        told = f"{len(found)} log-probabilities of {len(text.ids)} ids"
        fix = "leave log_probs out for a text that no model drew"
        raise UserError.single(f"{where}, log_probs", told, "one of each id, or none", fix)
    return found


def _refused(where: str, got: object, expected: str, fix: str | None = None) -> UserError:
    told = f"{type(got).__name__}: {got!r}"[:80]
    return UserError.single(where, told, expected, fix or "docs/extending.md shows a source")
