"""A corpus, tokenized, with its fixed windows and what they cover of the text.

Knows nothing of networks; touches no random stream.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from collapse_lm.corpora.corpus import Corpus
from collapse_lm.corpora.windows import Window, plan_windows
from collapse_lm.errors import UserError

_SHORT = 1_000_000  # characters of a text that is tokenized without a question
_MEMORY = 250  # bytes, per byte and per token of a text while it is tokenized, as measured


@dataclass(frozen=True)
class EvaluationSet:
    """A corpus, tokenized, with its fixed windows; made by `build`.

    Attributes:
        corpus: the text and its provenance.
        ids: token ids of the whole split, after one leading start token.
        windows: the windows that are scored.
        context, stride: of the windows, in tokens.
        restarts: each window begins with the start token, in place of the token before its
            first; otherwise only the first does.
        bytes_before, words_before: UTF-8 bytes of the text, and words begun in it, before
            each token and after the last.
        tokens_by_id: what the ids that occur stand for.
        lines_before: lines ended before each token and after the last, of a corpus of lines
            (of the form `<unk>`); None of any other.
    """

    corpus: Corpus
    ids: Tensor
    windows: tuple[Window, ...]
    context: int
    stride: int
    bytes_before: NDArray[np.int64]
    words_before: NDArray[np.int64]
    restarts: bool = False
    tokens_by_id: Mapping[int, str] = field(default_factory=dict, repr=False)
    lines_before: NDArray[np.int64] | None = None

    @classmethod
    def build(
        cls,
        corpus: Corpus,
        tokenizer: Any,
        start_token: int,
        context: int,
        stride: int | None = None,
        budget: int | None = None,
        restarts: bool = False,
    ) -> "EvaluationSet":
        """Tokenize a corpus and plan its windows (see `plan_windows` for the arguments)."""
        require_memory(corpus, tokenizer)
        encoded = _encode(tokenizer, corpus.text)
        ids = encoded["input_ids"]
        if not ids:
            raise UserError.single(
                f"corpus {corpus.name}", "a text of no tokens", "text that the tokenizer knows"
            )
        used, offsets = sorted({start_token, *ids}), encoded["offset_mapping"]
        return cls(
            corpus,
            torch.tensor([start_token, *ids]),
            tuple(plan_windows(len(ids), context, stride, budget)),
            context,
            stride or context,
            *_prefix_counts(corpus.text, offsets),
            restarts,
            dict(zip(used, tokenizer.convert_ids_to_tokens(used), strict=True)),
            _lines_before(corpus.text, offsets) if corpus.form == "<unk>" else None,
        )

    def of_length(self, tokens: int) -> "EvaluationSet":
        """The same with only those windows that feed in so many tokens."""
        same = tuple(window for window in self.windows if window.inputs == tokens)
        return replace(self, windows=same)

    def require_of(self, tokenizer: Any, reference: str) -> None:
        """Refuse to be scored by a model to which its ids mean other tokens.

        Raises:
            UserError: naming the first of them.
        """
        theirs = tokenizer.convert_ids_to_tokens(list(self.tokens_by_id))
        for (token, ours), other in zip(self.tokens_by_id.items(), theirs, strict=True):
            if ours != other:
                told = "nothing" if other is None else repr(other)
                raise UserError.single(
                    f"evaluation set of {self.corpus.name}",
                    f"ids of another tokenizer: {token} is {ours!r}, and {told} to {reference}",
                    "an evaluation set that was made for this model",
                    "evaluation_set(model, corpus)",
                )

    def inputs_of(self, window: Window) -> Tensor:
        """The token ids (C,) that a window feeds in."""
        ids = self.ids[window.first_input : window.end]
        return torch.cat([self.ids[:1], ids[1:]]) if self.restarts else ids

    def targets_of(self, window: Window) -> Tensor:
        """The token ids that a window scores."""
        return self.ids[window.first_target + 1 : window.end + 1]

    @property
    def split_tokens(self) -> int:
        """Tokens of the whole split."""
        return len(self.ids) - 1

    @property
    def tokens(self) -> int:
        """Tokens scored."""
        return sum(window.targets for window in self.windows)

    @property
    def scored_bytes(self) -> int:
        """UTF-8 bytes of the scored text."""
        return _scored(self.bytes_before, self.windows)

    @property
    def scored_words(self) -> int:
        """Whitespace-delimited words that begin in the scored text."""
        return _scored(self.words_before, self.windows)

    @property
    def scored_lines(self) -> int:
        """Lines that end in the scored text; 0 of a corpus that is not one of lines."""
        return 0 if self.lines_before is None else _scored(self.lines_before, self.windows)


def _encode(tokenizer: Any, text: str) -> Any:
    return tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,  # "<|endoftext|>" in a text is plain characters
        return_offsets_mapping=True,
        verbose=False,
    )


def require_memory(corpus: Corpus, tokenizer: Any) -> None:
    """Refuse a text whose tokens do not fit into memory, as its beginning tells.

    The system would end the process otherwise, and could say nothing of why.

    Raises:
        UserError: with what it needs and what is free.
    """
    length = len(corpus.text)
    if length <= _SHORT:
        return
    start = corpus.text[: _SHORT // 10]
    tokens = len(_encode(tokenizer, start)["input_ids"]) * length // len(start)
    needed = _MEMORY * (tokens + len(corpus.text.encode("utf-8")))
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError.single(
            f"corpus {corpus.name}",
            f"about {tokens:,} tokens, which need {needed / 1e9:.1f} GB while they are read",
            f"at most the {free / 1e9:.1f} GB of memory that are free",
            "a part of the text; windows are placed over all of it, whatever the budget",
        )


def _prefix_counts(
    text: str, offsets: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the UTF-8 bytes, and the words begun, before each token and after the last.

    A token owns the characters up to the start of the next, so the counts of any
    windows that cover the split add up to those of the text.
    """
    starts = _starts(text, offsets)
    points = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    widths = 1 + (points >= 0x80) + (points >= 0x800).astype(int) + (points >= 0x10000)
    bytes_before = np.concatenate(([0], np.cumsum(widths)))
    word_starts = np.array([match.start() for match in re.finditer(r"\S+", text)])
    return bytes_before[starts], np.searchsorted(word_starts, starts, side="left")


def _starts(text: str, offsets: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Where each token begins to own the text, and where the text ends, in characters."""
    starts = np.array([0, *(start for start, _ in offsets[1:]), len(text)])
    return np.maximum.accumulate(starts)


def _lines_before(text: str, offsets: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Count the line breaks before each token and after the last; the end of the text is one."""
    breaks = [match.start() for match in re.finditer("\n", text)]
    if not text.endswith("\n"):
        breaks.append(len(text) - 1)
    return np.searchsorted(np.array(breaks), _starts(text, offsets), side="left")


def _scored(before: NDArray[np.int64], windows: Sequence[Window]) -> int:
    return int(sum(before[w.end] - before[w.first_target] for w in windows))
