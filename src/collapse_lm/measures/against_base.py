"""How likely is the probe under the base model? Log-probabilities of its tokens, and means.

Shapes: B texts, R tokens fed of each, D width, N targets.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from statistics import fmean

import torch
from torch import Tensor

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.inference import Network
from collapse_lm.measures.names import Number

_BATCH_TOKENS = 2048  # tokens of one forward pass


class BaseLogProbability:
    """Log p of each token of a probe under the frozen base model, at temperature 1.

    The base model is loaded with row 0, or at the first use after a resume, and stays in
    memory, in the precision of evaluation.

    Args:
        every: updates between two measurements.
        block_size: tokens that a token saw when it was drawn under a sliding context; None
            where it saw all before it.
    """

    def __init__(self, every: int, block_size: int | None = None) -> None:
        self.every = every
        self._block_size = block_size

    def token_values(self, at: Moment, probe: Batch) -> Mapping[str, Sequence[Sequence[float]]]:
        """The log-probability (nats) of each token of each text."""
        found = base_log_probs(at.models.base(), probe.texts, self._block_size)
        return {"base_log_probs": found}

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Return the means over the tokens of a probe that `token_values` has been put into."""
        if at.update == 0:
            at.models.base()  # what cannot be had is told before the first update
        if not probe.tokens:
            return {}
        of_base = [value for text in probe.texts for value in text.base_log_probs]
        own = [value for text in probe.texts for value in text.log_probs]
        loss = -fmean(of_base)
        found: dict[str, Number] = {"base.loss": loss}
        if len(own) == len(of_base):
            found["base.log_ratio"] = fmean(own) + loss
        values = probe.values
        drawn_from = values.get("draw.sampling_entropy", values.get("probe.sampling_entropy"))
        if drawn_from is not None:
            found["base.kl"] = loss - drawn_from
        return found


def base_log_probs(
    network: Network, texts: Sequence[Text], block_size: int | None = None
) -> list[tuple[float, ...]]:
    """Log p (nats) of each id of texts under a model, given what stood before it.

    Args:
        network: the model.
        texts: with a prompt of one token at least, and ids.
        block_size: tokens that each id sees at most, with positions counted again from 0;
            None lets it see all. Past this many tokens each id takes a pass of its own.
    """
    found: list[tuple[float, ...]] = []
    for (prompt, length), group in groupby(texts, key=lambda t: (len(t.prompt), len(t.ids))):
        same = [(*text.prompt, *text.ids) for text in group]
        seen = prompt + length - 1 if block_size is None else min(block_size, prompt + length - 1)
        for rows in _parts(same, seen):
            first = _together(network, rows, prompt, seen)
            rest = [_sliding(network, ids, max(prompt, seen + 1), seen) for ids in rows]
            found += [(*a, *b) for a, b in zip(first, rest, strict=True)]
    return found


def _parts(rows: Sequence[tuple[int, ...]], seen: int) -> Iterator[Sequence[tuple[int, ...]]]:
    """Rows in batches of about _BATCH_TOKENS tokens to feed."""
    size = max(1, _BATCH_TOKENS // seen)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _together(
    network: Network, rows: Sequence[tuple[int, ...]], prompt: int, seen: int
) -> list[list[float]]:
    """Log p of the ids after the prompt that see all before them, by one pass."""
    count = seen + 1 - prompt
    if count <= 0:
        return [[] for _ in rows]
    ids_BR = torch.tensor(rows, device=network.device)[:, : seen + 1]
    hidden_BRD = network.hidden(ids_BR[:, :-1], last=count)
    return _scored(network, hidden_BRD, ids_BR[:, -count:]).tolist()


def _sliding(network: Network, ids: tuple[int, ...], first: int, seen: int) -> list[float]:
    """Log p of the ids from `first` on, each behind the `seen` ids before it."""
    found: list[float] = []
    places = [ids[end - seen : end + 1] for end in range(first, len(ids))]
    for rows in _parts(places, seen):
        ids_BR = torch.tensor(rows, device=network.device)
        last_B1D = network.hidden(ids_BR[:, :-1], last=1)
        found += _scored(network, last_B1D, ids_BR[:, -1:])[:, 0].tolist()
    return found


def _scored(network: Network, hidden_BRD: Tensor, targets_BR: Tensor) -> Tensor:
    hidden_ND = hidden_BRD.reshape(-1, hidden_BRD.shape[-1])
    return -network.nll(hidden_ND, targets_BR.reshape(-1)).view(targets_BR.shape)
