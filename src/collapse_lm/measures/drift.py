"""How far have the weights moved? From the base model in all, by group, and in the last update.

It keeps a copy of the base model's weights (4 bytes for each in float32), and one more of
the weights before the step while an update is trained on.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment
from collapse_lm.inference import Network
from collapse_lm.measures.names import Number, label

_PART = 1 << 20  # weights whose difference exists at a time
_GROUPS = {  # by words within the dotted name of a parameter, the first that fits
    "norms": r"norm|\bln_|layernorm",
    "attention": r"attn|attention",
    "mlp": r"mlp|ffn|feed_forward|experts",
}
Weights = Mapping[str, Tensor]


class Drift:
    """Relative L2 distances of the weights.

    Args:
        weights: returns the weights as they are now, by the name of their parameter.
        groups: of each parameter, by its name.
        every: updates between two measurements.
    """

    def __init__(
        self, weights: Callable[[], Weights], groups: Mapping[str, str], every: int
    ) -> None:
        self.every = every
        self._weights, self._groups = weights, groups
        self._start: Weights = {}
        self._before: Weights = {}

    def see_base(self, network: Network) -> None:
        """Take note of θ_0, which the weights are as yet."""
        self._start = copied(self._weights())

    def before_step(self, at: Moment) -> None:
        """Take note of the weights before the steps of an update."""
        self._before = copied(self._weights())

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Measure the distances."""
        now = self._weights()
        if at.update == 0:
            self._start = copied(now)
        found = distances(self._start, now, self._groups)
        if self._before:
            found["drift.step"] = distance(self._before, now, self._before)
            self._before = {}
        return found


def distances(start: Weights, now: Weights, groups: Mapping[str, str]) -> dict[str, Number]:
    """The relative distances in all and of each group, by the names of their columns."""
    found: dict[str, Number] = {"drift.total": distance(start, now, start)}
    for group in dict.fromkeys(groups[name] for name in start):
        names = [name for name in start if groups[name] == group]
        found[label("drift", group)] = distance(start, now, names)
    return found


def distance(start: Weights, now: Weights, names: Iterable[str]) -> float:
    """||now - start|| / ||start|| over the weights of these names; NaN where start is 0."""
    moved = length = 0.0
    for name in names:
        parts = zip(_parts(start[name]), _parts(now[name]), strict=True)
        for before, after in parts:
            moved += _square(after - before)
            length += _square(before)
    return math.sqrt(moved / length) if length else math.nan


def _parts(weights: Tensor) -> Iterable[Tensor]:
    return torch.split(weights.detach().reshape(-1), _PART)


def _square(values: Tensor) -> float:
    wide = values.double()
    return float(wide.dot(wide))


def copied(weights: Weights) -> Weights:
    """The weights as they are now."""
    return {name: value.detach().clone() for name, value in weights.items()}


def groups_of(network: Any) -> dict[str, str]:
    """The group of each parameter of a network, by its name, a tied one once.

    Embeddings (positions too, and the head where it is tied to them) and a head of its own are
    known by what the model calls so; norms, attention and mlp by words in the name; the rest is
    `other`.
    """
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, torch.nn.Embedding)}
    embeddings.add(id(getattr(network.get_input_embeddings(), "weight", None)))
    head = {id(value) for value in _parameters(network.get_output_embeddings())}
    groups: dict[str, str] = {}
    for name, value in network.named_parameters():
        if id(value) in embeddings:
            groups[name] = "embeddings"
        elif id(value) in head:
            groups[name] = "head"
        else:
            fits = (group for group, words in _GROUPS.items() if re.search(words, name.lower()))
            groups[name] = next(fits, "other")
    return groups


def _parameters(module: Any) -> Iterable[Tensor]:
    return module.parameters() if module is not None else ()
