"""Which part of a text is learned: all or one random window, as it is or tokenized again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Segment:
    """Text to learn: `targets` are predicted, `context` is only read before them."""

    context: tuple[int, ...]
    targets: tuple[int, ...]


def choose_segment(
    prompt: tuple[int, ...],
    ids: tuple[int, ...],
    window: int | None,
    generator: torch.Generator,
) -> Segment:
    """Return the whole sample after its prompt, or one random window of it.

    A window sees one token before its first target and nothing else, as in the
    authors' code.
    """
    if window is None:
        return Segment(prompt, ids)
    if window >= len(ids):
        return Segment(prompt[-1:], ids)
    start = int(torch.randint(len(ids) - window + 1, (), generator=generator))
    before = (prompt + ids)[len(prompt) + start - 1]
    return Segment((before,), ids[start : start + window])


def retokenize(tokenizer: Any, ids: Sequence[int]) -> tuple[int, ...]:
    """Decode ids to text and tokenize that again; special tokens become plain characters."""
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    again = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return tuple(again["input_ids"]) or tuple(ids)
