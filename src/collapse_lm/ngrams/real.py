"""A real text as documents like those that a model draws: pieces of it, in random order.

What is trained on and what is held out are so from all parts of the text (a corpus may be
ordered by time), and so is a small number of tokens.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from collapse_lm import rng
from collapse_lm.corpora.corpus import Corpus
from collapse_lm.errors import UserError
from collapse_lm.experiment.ready import ReadyModel
from collapse_lm.models.embeddings import check_ids
from collapse_lm.ngrams.samples import Ids, first_tokens

_CHARACTERS = 4  # of a token, about
_EVERY = 10  # one piece of so many is held out
_AT_ONCE = 256  # pieces that are tokenized together


@dataclass(frozen=True)
class RealText:
    """Pieces that n-grams are trained on, and others that weights are tuned on.

    Attributes:
        trained: token ids of each.
        held_out: likewise.
    """

    trained: list[Ids]
    held_out: list[Ids]

    @property
    def tokens(self) -> int:
        """Tokens that n-grams are trained on."""
        return sum(map(len, self.trained))


def real_text(corpus: Corpus, ready: ReadyModel, tokens: int, length: int, seed: int) -> RealText:
    """Take so many tokens of a text, or all, and hold out a tenth of what is taken.

    Args:
        corpus: the text.
        ready: the model whose tokens they are.
        tokens: to train on, at most.
        length: tokens of a piece, about.
        seed: of the order.

    Raises:
        UserError: for a text of fewer than ten pieces, or a token that the model cannot read.
    """
    pieces = _pieces(corpus.text, _CHARACTERS * length)
    if len(pieces) < _EVERY:
        raise UserError.single(
            "--real",
            f"{corpus.name}, {len(pieces)} pieces of about {length} tokens",
            f"at least {_EVERY}: one of so many is held out",
            "a longer text, or a smaller --length",
        )
    order = rng.numpy_stream(seed, "source").permutation(len(pieces)).tolist()
    found = RealText([], [])
    for place, ids in enumerate(_tokenized([pieces[number] for number in order], corpus, ready)):
        (found.held_out if place % _EVERY == _EVERY - 1 else found.trained).append(ids)
        if found.held_out and found.tokens >= tokens:
            break
    return RealText(first_tokens(found.trained, tokens), found.held_out)


def _pieces(text: str, characters: int) -> list[str]:
    """Cut a text before a blank, into pieces of at least so many characters but the last."""
    pattern = re.compile(rf".{{{characters}}}\S*|.+\Z", re.DOTALL)
    return pattern.findall(text)


def _tokenized(pieces: list[str], corpus: Corpus, ready: ReadyModel) -> Iterator[Ids]:
    model = ready.model
    for start in range(0, len(pieces), _AT_ONCE):
        texts = pieces[start : start + _AT_ONCE]
        # As in an EvaluationSet: what looks like a special token in a text is plain characters.
        several = model.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        for ids in several:
            check_ids(f"corpus {corpus.name}", ids, model.network, model.tokenizer)
            yield tuple(ids)
