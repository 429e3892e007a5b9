"""An exponential moving average of the weights, and its losses.

It begins with the weights of the base model, and moves once per update, after all its steps.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment, Saved
from collapse_lm.inference import Network
from collapse_lm.measures.names import Number, label
from collapse_lm.measures.validation import evaluate


class Averaged:
    """A network whose weights are a moving average of another's (Polyak and Juditsky 1992).

    average <- decay * average + (1 - decay) * weights, by torch's own code for it.

    Attributes:
        network: with the averaged weights; its buffers are those of the other at the start.
    """

    def __init__(self, of: Any, decay: float) -> None:
        self.network = copy.deepcopy(of)
        self._of = list(of.parameters())
        self._move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights after the steps of an update."""
        self._move(list(self.network.parameters()), self._of, 0)  # the count, which it leaves

    @torch.no_grad()
    def restart(self) -> None:
        """Begin the average with the weights as they are."""
        for averaged, weight in zip(self.network.parameters(), self._of, strict=True):
            averaged.copy_(weight)

    def state(self) -> Saved:
        """The averaged parameters by name."""
        return {name: value.detach() for name, value in self.network.named_parameters()}

    @torch.no_grad()
    def load(self, state: Saved) -> None:
        """Take over averaged parameters.

        Raises:
            ValueError: for those of another model.
        """
        own = dict(self.network.named_parameters())
        if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in own.items()}:
            raise ValueError("its averaged parameters are not those of the model")
        for name, parameter in own.items():
            parameter.copy_(state[name])


class AveragedLosses:
    """The validation losses of averaged weights that do not sample.

    Args:
        network: reads them.
        sets: what is scored.
        every: updates between two measurements.
    """

    def __init__(self, network: Network, sets: Sequence[EvaluationSet], every: int) -> None:
        self.every = every
        self._network, self._sets = network, sets

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Score the average as it is."""
        self._network.refresh()
        return {
            label("ema.loss", data.corpus.name): evaluate(self._network, data).loss
            for data in self._sets
        }
