"""Does the model say the same as before? Overlap of each probe with the last ones measured.

A sample can be varied in itself and still be the last one over again: a collapse into
one mode, which no measure within a sample sees. (`pool` compares with five probes, at no
choice, in every run.)
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment
from collapse_lm.measures.names import Number, label
from collapse_lm.measures.pool import grams_of

Samples = tuple[tuple[int, ...], ...]


class OverlapWithLast:
    """Share of the distinct n-grams of a probe that stood in any of the last ones measured.

    Absent at the first probe; NaN for a probe without an n-gram.

    Args:
        n: tokens of an n-gram.
        every: updates between two measurements.
        last: probes to compare with; fewer while there are not as many yet.
    """

    def __init__(self, n: int, every: int, last: int = 1) -> None:
        self.every = every
        self._n = n
        self._probes: deque[Samples] = deque(maxlen=last)
        self._name = label("overlap", str(n) if last == 1 else f"{n}, last {last}")

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Compare a probe with the last ones that were measured."""
        if not probe.texts:
            return {}
        now: Samples = tuple(text.ids for text in probe.texts)
        before = [ids for samples in self._probes for ids in samples]
        self._probes.append(now)
        return {self._name: overlap(now, before, self._n)} if before else {}

    def state(self) -> dict[str, Any]:
        """The last probes."""
        *earlier, last = map(_listed, self._probes or [()])
        return {"last": last, "earlier": earlier}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over the last probes; a checkpoint of an earlier release holds one."""
        probes = [*state.get("earlier", ()), state["last"]]
        self._probes.clear()
        self._probes += [tuple(map(tuple, samples)) for samples in probes if samples]


def overlap(now: Sequence[Sequence[int]], before: Sequence[Sequence[int]], n: int) -> float:
    """Share of the distinct n-grams of samples that earlier samples have too; NaN for none."""
    new = grams_of(now, n)
    return len(new & grams_of(before, n)) / len(new) if new else float("nan")


def _listed(samples: Samples) -> list[list[int]]:
    return [list(ids) for ids in samples]
