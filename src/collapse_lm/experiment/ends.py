"""Where in a decoded text does each of its tokens end?

A tokenizer decodes a token by its neighbours: a character may be several tokens, a space
belong to the token after it. So texts are decoded as far as each token, as servers that
stream text do. Offsets are checked against the text, and left out where they do not give it.
Pure, and linear in the number of tokens.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

Decode = Callable[[Sequence[Sequence[int]]], Sequence[str]]
_NEIGHBOURS = 8  # tokens before one that can change how it is decoded; a character is at most 4
_INCOMPLETE = "\ufffd"  # what decoders give for the bytes of a character that is not whole


def token_ends(
    samples: Sequence[Sequence[int]], texts: Sequence[str], decode: Decode
) -> list[tuple[int, ...]]:
    """The offset, in code points, at which each token of each sample ends in its text.

    A token that only completes a character later ends where the last whole character did.

    Args:
        samples: token ids of each.
        texts: what they decode to.
        decode: token ids of several texts to text.

    Returns:
        Offsets that do not fall, the last one the length of the text; none for a sample
        whose tokens do not add up to its text.
    """
    known = list({token for ids in samples for token in ids})
    alone = dict(zip(known, decode([[token] for token in known]), strict=True))
    return [
        _one_by_one(ids, text, alone) or _among_others(ids, text, decode)
        for ids, text in zip(samples, texts, strict=True)
    ]


def _one_by_one(ids: Sequence[int], text: str, alone: Mapping[int, str]) -> tuple[int, ...]:
    """The ends where each token decodes to the same with others as without: most texts."""
    return _adding_up((alone[token] for token in ids), text)


def _among_others(ids: Sequence[int], text: str, decode: Decode) -> tuple[int, ...]:
    """The ends as far as each token's neighbours tell what it adds to the text."""
    starts = [max(0, place - _NEIGHBOURS) for place in range(len(ids))]
    before = decode([ids[start:place] for place, start in enumerate(starts)])
    after = decode([ids[start : place + 1] for place, start in enumerate(starts)])
    whole = [*map(_whole, after[:-1]), *after[-1:]]  # at the end nothing completes a character
    pieces = [_added(_whole(old), new) for old, new in zip(before, whole, strict=True)]
    return () if None in pieces else _adding_up(map(str, pieces), text)


def _whole(text: str) -> str:
    return text.removesuffix(_INCOMPLETE)


def _added(before: str, after: str) -> str | None:
    return after[len(before) :] if after.startswith(before) else None


def _adding_up(pieces: Iterable[str], text: str) -> tuple[int, ...]:
    """Where pieces end in a text, if it is made of them."""
    pieces = list(pieces)
    return tuple(itertools.accumulate(map(len, pieces))) if "".join(pieces) == text else ()
