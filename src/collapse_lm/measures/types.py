"""Which words does a model still use? Rare types, and the slope of their frequencies.

A type is a token id that occurs; five probes are pooled, as one has too few tokens. Knows
nothing of models.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment
from collapse_lm.measures.names import Number
from collapse_lm.measures.pool import PROBES

LARGEST_RANK = 5000  # as Holtzman et al. (2020) fit it


class Types:
    """Of the last five probes measured: share of rare types, and Zipf's slope.

    Args:
        frequent: token ids that are not rare.
        every: updates between two measurements.
    """

    def __init__(self, frequent: frozenset[int], every: int) -> None:
        self.every = every
        self._frequent = frequent
        self._probes: deque[tuple[int, ...]] = deque(maxlen=PROBES)

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Measure the last probes, this one included."""
        if not probe.tokens:
            return {}
        self._probes.append(tuple(chain.from_iterable(text.ids for text in probe.texts)))
        return type_values(list(chain.from_iterable(self._probes)), self._frequent)

    def state(self) -> dict[str, Any]:
        """The last probes."""
        return {"probes": [list(ids) for ids in self._probes]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over the last probes."""
        self._probes.clear()
        self._probes += [tuple(ids) for ids in state["probes"]]


def type_values(ids: Sequence[int], frequent: frozenset[int]) -> dict[str, Number]:
    """The numbers of a text, one token id at least, by the names of their columns."""
    types = set(ids)
    return {
        "types.rare_share": len(types - frequent) / len(types),
        "types.zipf_slope": zipf_slope(ids),
    }


def most_frequent(ids: Sequence[int], count: int) -> frozenset[int]:
    """The most frequent ids of a text; of equally frequent ones the lower come first."""
    ranked = sorted(Counter(ids).items(), key=lambda item: (-item[1], item[0]))
    return frozenset(token for token, _ in ranked[:count])


def zipf_slope(ids: Sequence[int]) -> float:
    """Slope of log frequency over log rank by least squares; NaN with one type.

    Over all types, at most the 5,000 most frequent, as the Zipf coefficient of Holtzman et al.
    (2020), "The Curious Case of Neural Text Degeneration", which is its negative. It depends on
    how many tokens there are: compare at equal count.
    """
    frequencies = sorted(Counter(ids).values(), reverse=True)[:LARGEST_RANK]
    if len(frequencies) < 2:
        return float("nan")
    x, y = np.log(np.arange(1, len(frequencies) + 1)), np.log(frequencies)
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
