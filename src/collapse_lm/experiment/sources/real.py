"""Windows of a human text, as many tokens of it in an update as of own samples."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from collapse_lm.corpora.corpus import Corpus
from collapse_lm.corpora.evaluation_set import require_memory
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.numbers import Numbers
from collapse_lm.models.embeddings import check_ids

if TYPE_CHECKING:
    from collapse_lm.experiment.build import Context

_LOG = logging.getLogger(__name__)
Order = Literal["random", "stream"]


@dataclass(frozen=True)
class RealText:
    """`count` windows of `length` tokens in each update.

    The prompt of a window is the token before it; at the beginning of the corpus it is the
    start token that evaluation puts there.

    Attributes:
        ids: of the whole corpus (N,).
        origin: of its texts.
        start_token: stands before the corpus.
        count: windows of an update.
        length: tokens of each, at most N.
        order: stream: one window after the other, and past the end of the corpus its beginning
            again, also within a window. random: any that the corpus holds whole, with
            replacement.
        numbers: for the order `random`.
        which: of the streams of these numbers.
    """

    ids: NDArray[np.int64]
    origin: str
    start_token: int
    count: int
    length: int
    order: Order
    numbers: Numbers
    which: int = 0

    def draw(self, at: Moment) -> Batch:
        """The windows of an update, which depend on its number alone."""
        return Batch(self.texts(at, self.count))

    def texts(self, at: Moment, count: int) -> tuple[Text, ...]:
        """The first `count` windows of an update."""
        return tuple(map(self._window, self._starts(at)[:count]))

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Nothing to remember: the number of the update tells the places."""

    def _starts(self, at: Moment) -> list[int]:
        """Index of the first token of each window."""
        if self.order == "stream":
            first = (at.update - 1) * self.count
            return [(first + n) * self.length % len(self.ids) for n in range(self.count)]
        highest = len(self.ids) - self.length + 1
        numbers = self.numbers.of(at, self.which)
        starts: list[int] = torch.randint(highest, (self.count,), generator=numbers).tolist()
        return starts

    def _window(self, start: int) -> Text:
        before = int(self.ids[start - 1]) if start else self.start_token
        ids = self.ids.take(range(start, start + self.length), mode="wrap")
        return Text((before,), tuple(ids.tolist()), self.origin)


def real_text(
    context: "Context", reference: str, order: Order, depth: int = 0, which: int = 0
) -> RealText:
    """Read and tokenize a corpus for a run, as evaluation does.

    Args:
        context: of the run; the sampling settings decide how much text an update has.
        reference: of the corpus.
        order: of the windows.
        depth: sources that stand within; with `which` it tells random numbers apart.
        which: see `Numbers`.

    Raises:
        UserError: for a corpus that cannot be had, does not fit into memory, has a token that
            the model has no embedding for, or is shorter than one window.
    """
    corpus, length = context.corpus(reference), context.config.sampling.max_new_tokens
    ids = _encoded(corpus, context.model.tokenizer)
    if len(ids) < length:
        got, least = f"a corpus of {len(ids)} tokens", f"at least {length}, the tokens of one text"
        raise UserError.single("source", got, least, "a longer text, or sampling.max_new_tokens")
    used = [int(ids.max())]
    check_ids(f"corpus {corpus.name}", used, context.model.network, context.model.tokenizer)
    if reference in context.config.evaluation.corpora:
        told = "the source trains on %s, so validation on it is that of text that was trained on"
        _LOG.warning(told, reference)
    return RealText(
        ids=ids,
        origin=f"corpus:{corpus.name}",
        start_token=context.model.start_token,
        count=context.config.sampling.batch_size,
        length=length,
        order=order,
        numbers=Numbers(context.seed, depth),
        which=which,
    )


def _encoded(corpus: Corpus, tokenizer: Any) -> NDArray[np.int64]:
    """Token ids of a corpus; special tokens in it are plain characters."""
    require_memory(corpus, tokenizer)
    settings = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    return np.asarray(tokenizer(corpus.text, **settings)["input_ids"], dtype=np.int64)
