"""Texts of rollouts as token ids, with the model's tokenizer or without one. Pure.

Without a tokenizer the tokens of a string are its words and its punctuation marks, each with
a number that follows from it: enough for n-grams, loops and lengths, which then compare with
one another and not with those of a tokenizer.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from collapse_lm.errors import UserError
from collapse_lm.measures.text import plain_ids

_WORDS = re.compile(r"\w+|[^\w\s]")
_NUMBERS = 999_999_937  # a prime below the largest id that a record may hold


def token_ids(text: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids of a string, or of what is given as ids.

    Args:
        text: a string, or token ids in a list, an array or a tensor.
        tokenizer: of transformers; None takes words and punctuation marks.

    Raises:
        UserError: for anything else.
    """
    if not isinstance(text, str):
        return plain_ids(text, "observe_texts")
    if tokenizer is None:
        return tuple(map(_number, _WORDS.findall(text)))
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tuple(ids)


@lru_cache(maxsize=1 << 14)
def _number(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _NUMBERS


def spelled(text: Any, ids: Sequence[int], tokenizer: Any) -> str:
    """The string of a text; of ids without a tokenizer their numbers."""
    if isinstance(text, str):
        return text
    if tokenizer is None:
        return " ".join(map(str, ids))
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def require_texts(texts: Any) -> list[Any]:
    """Several texts.

    Raises:
        UserError: for a single one, and for none.
    """
    if isinstance(texts, str) or not hasattr(texts, "__len__") or not len(texts):
        got = f"{texts!r}"[:80]
        raise UserError.single("observe_texts", got, "several texts: strings, or lists of ids")
    return list(texts)
