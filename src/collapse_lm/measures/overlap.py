"""Does the model say the same as before? Overlap of each probe with the last one measured.

A sample can be varied in itself and still be the last one over again: a collapse into
one mode, which no measure within a sample sees.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment
from collapse_lm.measures.names import Number, label

Grams = frozenset[tuple[int, ...]]


class OverlapWithLast:
    """Share of the distinct n-grams of a probe that stood in the last one measured.

    Absent at the first probe; NaN for a probe without an n-gram.
    """

    def __init__(self, n: int, every: int) -> None:
        self.every = every
        self._n = n
        self._last: tuple[tuple[int, ...], ...] = ()

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Compare a probe with the last one that was measured."""
        if not probe.texts:
            return {}
        before, self._last = self._last, tuple(text.ids for text in probe.texts)
        return (
            {label("overlap", str(self._n)): overlap(self._last, before, self._n)} if before else {}
        )

    def state(self) -> dict[str, Any]:
        """The last probe."""
        return {"last": [list(ids) for ids in self._last]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over the last probe."""
        self._last = tuple(tuple(ids) for ids in state["last"])


def overlap(now: Sequence[Sequence[int]], before: Sequence[Sequence[int]], n: int) -> float:
    """Share of the distinct n-grams of samples that earlier samples have too; NaN for none."""
    new = _grams(now, n)
    return len(new & _grams(before, n)) / len(new) if new else float("nan")


def _grams(samples: Sequence[Sequence[int]], n: int) -> Grams:
    return frozenset(
        tuple(ids[start : start + n]) for ids in samples for start in range(len(ids) - n + 1)
    )
