"""Label smoothing (Szegedy et al. 2016, section 7)."""

from torch import Tensor
from torch.nn import functional

from collapse_lm.experiment.objectives.base import Chunk
from collapse_lm.machine.compute import at_least_float32


class LabelSmoothing:
    """Cross-entropy to (1 - smoothing) of the target and smoothing / V of every token.

    It is torch's; the target has its share of the second too. V counts every row of the
    model's head, those of a padded vocabulary as well.
    """

    needs_base = False

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return the sum over the targets, in nats."""
        return functional.cross_entropy(
            at_least_float32(chunk.logits_TV),
            chunk.targets_T,
            reduction="sum",
            label_smoothing=self._smoothing,
        )
