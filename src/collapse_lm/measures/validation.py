"""Losses of a model on fixed windows of real text. Touches no random stream.

Shapes: B windows, C positions of a window, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import torch
from torch import Tensor

from collapse_lm._util.numbers import exp
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.corpora.windows import Window
from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment
from collapse_lm.inference import Network
from collapse_lm.measures.change import Change, block_sizes, change
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
        word_perplexity_eos: likewise with an end of line as one more word, as is the custom for
            Penn Treebank and WikiText-2; None for a text that is not of that form.
    """

    loss: float
    perplexity: float
    bits_per_byte: float
    word_perplexity: float
    tokens: int
    word_perplexity_eos: float | None = None


class ValidationLosses:
    """The losses on every evaluation set, and how far each is from the base model's."""

    def __init__(self, sets: Sequence[EvaluationSet], every: int) -> None:
        self.every = every
        self._sets = sets
        self._base: dict[str, Tensor] = {}  # losses of the base model, by corpus

    def see_base(self, network: Network) -> None:
        """Take note of the base model's losses."""
        self._base = {data.corpus.name: score(network, data)[1] for data in self._sets}

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> dict[str, Number]:
        """Score the current model on every corpus."""
        found: dict[str, Number] = {}
        for data in self._sets:
            name = data.corpus.name
            loss, blocks = score(at.models.evaluator, data)
            found |= {label(f"validation.{n}", name): v for n, v in known(loss).items()}
            if at.update == 0:
                self._base[name] = blocks
                continue
            moved = _change(data, self._base[name], blocks)
            found[label("validation.change", name)] = moved.mean
            found[label("validation.change_se", name)] = moved.error
        return found


def known(loss: CorpusLoss) -> dict[str, Number]:
    """The numbers of a corpus by name, those that it has."""
    return {name: value for name, value in asdict(loss).items() if value is not None}


def evaluate_all(network: Network, sets: Sequence[EvaluationSet]) -> dict[str, CorpusLoss]:
    """Score every evaluation set, by corpus name."""
    return {data.corpus.name: evaluate(network, data) for data in sets}


def evaluate(network: Network, data: EvaluationSet) -> CorpusLoss:
    """Score every window of an evaluation set."""
    return score(network, data)[0]


def score(network: Network, data: EvaluationSet) -> tuple[CorpusLoss, Tensor]:
    """Score every window; return the loss, and sums (nats, float64) over blocks of tokens."""
    total, sums = 0.0, list[Tensor]()
    blocks = iter(_blocks(data))
    for batch in _batches(data.windows):
        nll_N = _batch_nll(network, data, batch)
        total += float(nll_N.sum())
        sizes = [size for _ in batch for size in next(blocks)]
        sums += [part.sum() for part in torch.split(nll_N.cpu(), sizes)]
    loss, with_ends = total / data.tokens, data.scored_words + data.scored_lines
    return CorpusLoss(
        loss=loss,
        perplexity=exp(loss),
        bits_per_byte=total / math.log(2) / data.scored_bytes if data.scored_bytes else math.nan,
        word_perplexity=exp(total / data.scored_words) if data.scored_words else math.nan,
        tokens=data.tokens,
        word_perplexity_eos=exp(total / with_ends) if data.scored_lines else None,
    ), torch.stack(sums)


def token_losses(network: Network, data: EvaluationSet) -> Tensor:
    """Return -log p (N,), nats in float64, of every scored token, in the order of the windows."""
    return torch.cat([_batch_nll(network, data, part).cpu() for part in _batches(data.windows)])


def _blocks(data: EvaluationSet) -> list[list[int]]:
    """Sizes of the blocks of each window."""
    return block_sizes([window.targets for window in data.windows])


def _change(data: EvaluationSet, before: Tensor, after: Tensor) -> Change:
    return change(before.numpy(), after.numpy(), _blocks(data), data.split_tokens)


@torch.inference_mode()
def _batch_nll(network: Network, data: EvaluationSet, batch: Sequence[Window]) -> Tensor:
    """-log p (N,), in float64, of the targets of windows of one shape."""
    inputs_BC = torch.stack([data.inputs_of(window) for window in batch]).to(network.device)
    targets_BC = torch.stack([data.targets_of(window) for window in batch])
    hidden_BCD = network.hidden(inputs_BC, last=batch[0].targets)
    hidden_ND = hidden_BCD.reshape(-1, hidden_BCD.shape[-1])
    return network.nll(hidden_ND, targets_BC.reshape(-1).to(network.device))


def _batches(windows: Sequence[Window]) -> Iterator[list[Window]]:
    """Group neighbouring windows of the same shape into batches of about _BATCH_TOKENS."""
    for (inputs, _), group in groupby(windows, key=lambda w: (w.inputs, w.targets)):
        same, size = list(group), max(1, _BATCH_TOKENS // inputs)
        for start in range(0, len(same), size):
            yield same[start : start + size]
