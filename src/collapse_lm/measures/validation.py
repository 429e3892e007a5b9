"""Losses of a model on fixed windows of real text. Touches no random stream.

Shapes: B windows, C positions of a window, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import torch

from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.corpora.windows import Window
from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment
from collapse_lm.inference import Network
from collapse_lm.measures.names import Number, label

_BATCH_TOKENS = 2048  # tokens of one forward pass


@dataclass(frozen=True)
class CorpusLoss:
    """Validation loss on one corpus, in the units that compare across tokenizers too.

    Attributes:
        loss: mean -log p in nats per token.
        perplexity: exp(loss).
        bits_per_byte: total -log2 p divided by the UTF-8 bytes of the scored text.
        word_perplexity: exp of the total -log p per whitespace-delimited word.
        tokens: tokens scored.
    """

    loss: float
    perplexity: float
    bits_per_byte: float
    word_perplexity: float
    tokens: int


class ValidationLosses:
    """The losses on every evaluation set, as a measure of each run."""

    def __init__(self, sets: Sequence[EvaluationSet], every: int) -> None:
        self.every = every
        self._sets = sets

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> dict[str, Number]:
        """Score the current model on every corpus."""
        losses = evaluate_all(at.models.sampler, self._sets)
        return {
            label(f"validation.{name}", corpus): value
            for corpus, loss in losses.items()
            for name, value in asdict(loss).items()
        }


def evaluate_all(network: Network, sets: Sequence[EvaluationSet]) -> dict[str, CorpusLoss]:
    """Score every evaluation set, by corpus name."""
    return {data.corpus.name: evaluate(network, data) for data in sets}


def evaluate(network: Network, data: EvaluationSet) -> CorpusLoss:
    """Score every window of an evaluation set."""
    total = sum(_batch_nll(network, data, batch) for batch in _batches(data.windows))
    loss = total / data.tokens
    return CorpusLoss(
        loss=loss,
        perplexity=_exp(loss),
        bits_per_byte=total / math.log(2) / data.scored_bytes if data.scored_bytes else math.nan,
        word_perplexity=_exp(total / data.scored_words) if data.scored_words else math.nan,
        tokens=data.tokens,
    )


@torch.inference_mode()
def _batch_nll(network: Network, data: EvaluationSet, batch: Sequence[Window]) -> float:
    """Total -log p over the targets of windows of one shape."""
    inputs_BC = torch.stack([data.inputs_of(window) for window in batch]).to(network.device)
    targets_BC = torch.stack([data.targets_of(window) for window in batch])
    hidden_BCD = network.hidden(inputs_BC)[:, -batch[0].targets :]
    hidden_ND = hidden_BCD.reshape(-1, hidden_BCD.shape[-1])
    targets_N = targets_BC.reshape(-1).to(network.device)
    return float(network.nll(hidden_ND, targets_N).sum())


def _batches(windows: Sequence[Window]) -> Iterator[list[Window]]:
    """Group neighbouring windows of the same shape into batches of about _BATCH_TOKENS."""
    for (inputs, _), group in groupby(windows, key=lambda w: (w.inputs, w.targets)):
        same, size = list(group), max(1, _BATCH_TOKENS // inputs)
        for start in range(0, len(same), size):
            yield same[start : start + size]


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
