"""The one interface of all sources of text."""

from collections.abc import Sequence
from typing import Protocol

from collapse_lm.inference import Network
from collapse_lm.sampling import Draw


class Source(Protocol):
    """Decides the text of an update."""

    def draw(self, network: Network, update: int) -> Draw:
        """Return the samples to train on in `update` (counted from 1).

        `network` is the current model, θ_{u-1}. The same update draws the same
        random numbers at every call.
        """
        ...

    def replay(self, samples: Sequence[Sequence[int]]) -> None:
        """Take note of the samples of an earlier update, as `draw` would have.

        A resumed run shows a fresh source the recorded samples of every update, in
        order; it then draws as if it had never been away.
        """
        ...
