"""The one interface of all measures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Moment
from collapse_lm.inference import Network
from collapse_lm.measures.names import Number


class Measure(Protocol):
    """Numbers of an update, by the names of their columns in the row.

    A measure that remembers something from update to update is `Stateful` too.

    Attributes:
        every: updates between two measurements; update 0 is measured, and so is the last
            unless the measure is `Stateful`.
    """

    @property
    def every(self) -> int:
        """Updates between two measurements."""
        ...

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Measure, after the step of the update: `at.models` are θ_u.

        Args:
            at: the update.
            batch: what it trained on, drawn before the step; empty at update 0.
            probe: what it is judged by, drawn before the step; empty at update 0 and
                where the update has none.
        """
        ...


@runtime_checkable
class KnowsBase(Protocol):
    """A measure that compares with the base model, which it is shown when a run is resumed."""

    def see_base(self, network: Network) -> None:
        """Take note of θ_0; in a new run row 0 shows it."""
        ...


@runtime_checkable
class SeesStep(Protocol):
    """A measure that compares the weights before an update's steps with those after."""

    def before_step(self, at: Moment) -> None:
        """Take note of θ_{u-1}; asked before each update that is measured on schedule."""
        ...


@runtime_checkable
class TokenMeasure(Protocol):
    """A measure that also has a number for each token of the probe."""

    def token_values(self, at: Moment, probe: Batch) -> Mapping[str, Sequence[Sequence[float]]]:
        """Measure the tokens, just before the call that measures the update.

        Args:
            at: the update.
            probe: with one text at least.

        Returns:
            By name, a row of numbers for each text of the probe: one per id, or none. They
            stand in samples.jsonl (under `per_token`, but for base_log_probs), and in the
            texts that the call is given.
        """
        ...


class FunctionMeasure:
    """A measure that is a function, called after each update."""

    every = 1

    def __init__(self, function: Callable[[Moment, Batch, Batch], Mapping[str, Number]]) -> None:
        self._function = function
        self.name = getattr(function, "__qualname__", type(function).__qualname__)

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Return what the function does."""
        return self._function(at, batch, probe)
