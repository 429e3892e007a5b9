"""How far is the model from the base model where a human text goes on? The whole distribution.

At fixed prefixes of a text the probabilities of all next tokens are compared with those of
the base model. These are kept, not the model.

Shapes: B prefixes of one pass, C tokens of each, D width, N prefixes, V vocabulary.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment
from collapse_lm.inference import Network
from collapse_lm.measures.names import Number

_BATCH_TOKENS = 2048  # tokens of one forward pass


class Prefixes:
    """Distribution of the next token at fixed prefixes, now and under the base model.

    It keeps the base model's log-probabilities: 4 bytes for each prefix and token of the
    vocabulary.

    Args:
        data: a text; each of its windows is a prefix. All have one length.
        every: updates between two measurements.
    """

    def __init__(self, data: EvaluationSet, every: int) -> None:
        self.every = every
        self._data = data
        self._base_NV = torch.empty(0)

    def see_base(self, network: Network) -> None:
        """Take note of the base model's distributions."""
        self._base_NV = next_log_probs(network, self._data)

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Compare the current model with the base model."""
        now_NV = next_log_probs(at.models.evaluator, self._data)
        if at.update == 0:
            self._base_NV = now_NV
        return prefix_values(self._base_NV, now_NV)


@torch.inference_mode()
def next_log_probs(network: Network, data: EvaluationSet) -> Tensor:
    """Log p (N, V), float32 on the CPU, of every token after each window, unfiltered."""
    inputs_NC = torch.stack([data.inputs_of(window) for window in data.windows])
    found = []
    for inputs_BC in torch.split(inputs_NC, max(1, _BATCH_TOKENS // inputs_NC.shape[1])):
        last_BD = network.hidden(inputs_BC.to(network.device), last=1)[:, 0]
        found.append(network.logits(last_BD).float().log_softmax(-1).cpu())
    return torch.cat(found)


def prefix_values(base_NV: Tensor, now_NV: Tensor) -> dict[str, Number]:
    """Means over prefixes, by the names of their columns.

    Args:
        base_NV: log p of each next token under the base model, in nats.
        now_NV: likewise under the model now.
    """
    base_NV, now_NV = base_NV.double(), now_NV.double()
    entropy = -_expected(now_NV, now_NV)
    return {
        "prefix.kl": _expected(base_NV, base_NV - now_NV),
        "prefix.kl_reverse": _expected(now_NV, now_NV - base_NV),
        "prefix.entropy": entropy,
        "prefix.effective_vocabulary": math.exp(entropy),
        "prefix.top1": float(now_NV.max(-1).values.exp().mean()),
    }


def _expected(log_p_NV: Tensor, values_NV: Tensor) -> float:
    """Mean over prefixes of the expected value; what has no probability counts nothing."""
    p_NV = log_p_NV.exp()
    return float(torch.where(p_NV > 0, p_NV * values_NV, 0.0).sum(-1).mean())
