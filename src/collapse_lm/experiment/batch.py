"""What an update trains on, and what it is judged by: texts with their origin. No torch."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

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
        ends: offset in the text (in code points) at which each token ends; one that only
            completes a character later ends where the last whole character did. Filled in
            by the loop likewise; empty where the tokens do not add up to the text.
        entropies: predictive entropy (nats) of the model that drew it at each id, at
            temperature 1 and unfiltered; empty for a text that no model drew.
        base_log_probs: log p (nats) of each id under the base model (measure
            base_log_probability); empty where it was not measured.
        per_token: numbers of further measures, one per id, by name.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    origin: str
    text: str = ""
    log_probs: tuple[float, ...] = ()
    prompt_text: str = ""
    ends: tuple[int, ...] = ()
    entropies: tuple[float, ...] = ()
    base_log_probs: tuple[float, ...] = ()
    per_token: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Generation:
    """The generation that an update belongs to, and the update's place in it.

    Attributes:
        number: of the generation.
        update: of the generation, from 1.
        updates: that it has.
        start: weights that it begins with: of the base model, those of the last generation, or
            new random ones.
    """

    number: int
    update: int
    updates: int
    start: Literal["base", "last", "scratch"] = "last"


@dataclass(frozen=True)
class Batch:
    """The texts of an update, or of a probe.

    Attributes:
        texts: in order.
        values: numbers that the source has to tell, by the name of their column in the
            row: draw.entropy, filter.rejected, ...
        generation: of the update; None under a source without generations.
    """

    texts: tuple[Text, ...] = ()
    values: Mapping[str, Number] = field(default_factory=dict)
    generation: Generation | None = None

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
        ends=_ends(text, where),
        log_probs=numbers_of(text, text.log_probs, f"{where}, log_probs"),
        entropies=numbers_of(text, text.entropies, f"{where}, entropies"),
        base_log_probs=numbers_of(text, text.base_log_probs, f"{where}, base_log_probs"),
        per_token=_per_token(text, where),
    )


def numbers_of(text: Text, values: Any, where: str) -> tuple[float, ...]:
    """Values of each id of a text as plain numbers; none stay none.

    Raises:
        UserError: for what is no number, and for another number of them.
    """
    try:
        found = tuple(map(float, values))
    except (TypeError, ValueError):
        raise _refused(where, values, "numbers") from None
    if len(found) not in (0, len(text.ids)):
        told = f"{len(found)} values of {len(text.ids)} ids"
        fix = "leave them out for a text that has none"
        raise UserError.single(where, told, "one of each id, or none", fix)
    return found


def _per_token(text: Text, where: str) -> dict[str, tuple[float, ...]]:
    if not isinstance(text.per_token, Mapping):
        raise _refused(f"{where}, per_token", text.per_token, "values by name")
    return {
        str(name): numbers_of(text, values, f"{where}, {name}")
        for name, values in text.per_token.items()
    }


def _ends(text: Text, where: str) -> tuple[int, ...]:
    ends = plain_ids(text.ends, f"{where}, ends")
    if not ends or are_ends(ends, text.ids, text.text):
        return ends
    told = f"{len(ends)} offsets up to {ends[-1]}"
    expected = f"one per id, rising to the text's length, {len(text.text)}, or none"
    fix = "leave ends out: they are filled in"
    raise UserError.single(f"{where}, ends", told, expected, fix)


def are_ends(ends: Sequence[int], ids: Sequence[int], text: str) -> bool:
    """True for offsets at which the tokens of a text can end."""
    is_rising = all(before <= after for before, after in itertools.pairwise((0, *ends)))
    return len(ends) == len(ids) and is_rising and ends[-1:] == (len(text),)


def _refused(where: str, got: object, expected: str, fix: str | None = None) -> UserError:
    told = f"{type(got).__name__}: {got!r}"[:80]
    return UserError.single(where, told, expected, fix or "docs/extending.md shows a source")
