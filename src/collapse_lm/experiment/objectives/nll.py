"""The paper's objective: the mean negative log-likelihood of the batch."""

from torch import Tensor

from collapse_lm.experiment.objectives.base import Chunk


class NegativeLogLikelihood:
    """-log p of every target."""

    needs_base = False

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return the sum over the targets, in nats."""
        return chunk.nll
