"""What a network says of each token at the beginning of a text, in windows of one length."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from collapse_lm._util.numbers import exp
from collapse_lm.corpora.corpus import Corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.corpora.windows import plan_windows
from collapse_lm.errors import UserError
from collapse_lm.experiment.ready import ReadyModel
from collapse_lm.measures.validation import token_losses
from collapse_lm.models.embeddings import check_ids

Numbers = NDArray[np.float64]

_CHARACTERS = 8  # of a token, more than most have
_MARGIN = 32  # tokens past the last that is used, as a cut may change the tokens before it


def beginning(corpus: Corpus, ready: ReadyModel, tokens: int | None) -> EvaluationSet:
    """Tokenize the beginning of a text: as many tokens at least as are wanted, where it has them.

    Args:
        corpus: the text; a long one is not tokenized as a whole.
        ready: the model whose tokens they are.
        tokens: wanted; None takes the whole text.

    Raises:
        UserError: for a text that yields a token which the model has no embedding for.
    """
    model, part = ready.model, corpus
    length = len(corpus.text) if tokens is None else _CHARACTERS * (tokens + _MARGIN)
    while True:
        part = replace(corpus, text=corpus.text[:length])
        # Windows of a token each would cost more memory than the ids; nobody reads these.
        data = EvaluationSet.build(part, model.tokenizer, model.start_token, 4 * length)
        if length >= len(corpus.text) or data.split_tokens >= (tokens or 0) + _MARGIN:
            break
        length *= 2
    check_ids(f"corpus {corpus.name}", data.ids.tolist(), model.network, model.tokenizer)
    return data


def require_apart(scored: Corpus, other: Corpus, option: str) -> None:
    """Refuse a text to learn from that is the one to be scored, or has it in it.

    Raises:
        UserError: naming the option that gave it.
    """
    one, two = scored.text.strip(), other.text.strip()
    if one in two or two in one:
        raise UserError.single(
            option,
            f"{other.name}, which has text of {scored.name} in it",
            "a text that is not scored",
            f"another {option}",
        )


def log_probs(ready: ReadyModel, data: EvaluationSet, tokens: int, context: int) -> Numbers:
    """Return log p (nats) of each of the first tokens of a text (N,), in windows of a context."""
    windows = tuple(plan_windows(tokens, context))
    windowed = replace(data, windows=windows, context=context, stride=context)
    losses: Numbers = token_losses(ready.evaluator, windowed).numpy()
    return -losses


@dataclass(frozen=True)
class Units:
    """A mean loss in the units that it is told in.

    Attributes:
        loss: nats per token.
        perplexity: exp(loss).
        bits_per_byte: of the scored text; NaN of one without a byte.
    """

    loss: float
    perplexity: float
    bits_per_byte: float

    @classmethod
    def of(cls, log_p: Numbers, data: EvaluationSet) -> "Units":
        """From log p (nats) of the first tokens of a text."""
        size = int(data.bytes_before[len(log_p)])
        return cls.of_loss(-float(log_p.mean()), len(log_p), size)

    @classmethod
    def of_loss(cls, loss: float, tokens: int, size: int) -> "Units":
        """From a mean loss (nats per token), and how many tokens and bytes it is of."""
        bits = loss * tokens / math.log(2)
        return cls(loss, exp(loss), bits / size if size else math.nan)


def by_segment(values: Numbers, segment: int) -> Numbers:
    """Means over segments of so many tokens; a shorter rest at the end is left out."""
    count = len(values) // segment
    means: Numbers = values[: count * segment].reshape(count, segment).mean(axis=1)
    return means
