"""The one interface of all sources of text."""

from collections.abc import Callable
from typing import Protocol

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment


class Source(Protocol):
    """Decides the text of an update.

    A source that remembers more than the recorded rows tell is `Stateful` too.
    """

    def draw(self, at: Moment) -> Batch:
        """Return the texts to train on in `at.update` (counted from 1).

        `at.models.sampler` is the current model, θ_{u-1}. The same update draws the same
        random numbers at every call.
        """
        ...

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Take note of the texts of an earlier update, as `draw` would have.

        A resumed run shows a fresh source the recorded texts of every update, in order;
        it then draws as if it had never been away.
        """
        ...


class FunctionSource:
    """A source that is a function of the moment, and remembers nothing."""

    def __init__(self, draw: Callable[[Moment], Batch]) -> None:
        self.draw = draw

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Nothing to remember."""
