"""An objective and a term that is added to it. Sums nest, so that several terms are possible."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from collapse_lm.experiment.models import Saved, Stateful
from collapse_lm.experiment.objectives.base import Chunk, Objective, Telling
from collapse_lm.measures.names import Number


class Added:
    """The sum of two objectives.

    What either remembers is saved as `of.NAME` and `term.NAME`.
    """

    def __init__(self, of: Objective, term: Objective) -> None:
        self._parts = {"of": of, "term": term}
        self.needs_base = of.needs_base or term.needs_base

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return the sum over the targets, in nats."""
        of, term = (part(chunk) for part in self._parts.values())
        return of + term

    def values(self) -> Mapping[str, Number]:
        """The numbers of both."""
        told = [part.values() for part in self._parts.values() if isinstance(part, Telling)]
        return {name: value for values in told for name, value in values.items()}

    def state(self) -> Saved:
        """What both remember."""
        return {
            f"{place}.{name}": value
            for place, part in self._remembering().items()
            for name, value in part.state().items()
        }

    def load(self, state: Saved) -> None:
        """Take over what `state` gave."""
        for place, part in self._remembering().items():
            part.load(_below(place, state))

    def _remembering(self) -> dict[str, Stateful]:
        return {place: part for place, part in self._parts.items() if isinstance(part, Stateful)}


def _below(place: str, state: Saved) -> dict[str, Any]:
    """The part of a state that a place has, by the names that the part gave."""
    start = f"{place}."
    return {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}
