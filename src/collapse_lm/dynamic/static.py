"""The untrained model on the tokens that are scored dynamically."""

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.corpora.windows import plan_windows
from collapse_lm.experiment.lengths import check_positions, default_context
from collapse_lm.experiment.ready import ReadyModel
from collapse_lm.measures.change import block_sizes
from collapse_lm.measures.validation import score
from collapse_lm.ngrams.scored import Units

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Static:
    """The untrained model on the tokens that are scored dynamically.

    Attributes:
        by_update: mean nats per token of the segments of each update, each segment seeing the
            token before it and itself, as in the run.
        tokens: scored.
        bytes: of the text that they stand for.
        longest: the longest context of the model, in tokens.
        loss_at_longest: mean nats per token at that context.
    """

    by_update: NDArray[np.float64]
    tokens: int
    bytes: int
    longest: int
    loss_at_longest: float

    def told(self, name: str, loss: float, suffix: str = "") -> dict[str, float]:
        """A loss of these tokens in all units, as a summary has it."""
        units = Units.of_loss(loss, self.tokens, self.bytes)
        return {
            f"{name}_loss{suffix}": loss,
            f"{name}_perplexity{suffix}": units.perplexity,
            f"{name}_bits_per_byte{suffix}": units.bits_per_byte,
        }

    def summary(self, segment: int) -> dict[str, float]:
        """What a summary tells of the text and of the untrained model."""
        return {
            **self.told("static", float(self.by_update.mean())),
            "static_context": segment,
            **self.told("static", self.loss_at_longest, "_longest"),
            "longest_context": self.longest,
            "tokens": self.tokens,
            "segments": self.tokens // segment,
        }


def static_losses(ready: ReadyModel, data: EvaluationSet, updates: int, batch: int) -> Static:
    """Score a model on the first segments of a text, and on the same tokens at its longest context.

    Args:
        ready: the model.
        data: the text, in windows of one segment.
        updates: how many are scored, `batch` segments in each.
        batch: segments of an update.
    """
    count = updates * batch
    total = count * data.context
    _LOG.info("scoring %d tokens with the untrained model", total)
    short = replace(data, windows=data.windows[:count])
    longest = min(ready.model.max_positions or default_context(ready.model), total)
    check_positions(ready.model, {"context": longest})
    windows = tuple(plan_windows(total, longest))
    long = replace(data, windows=windows, context=longest, stride=longest)
    blocks = iter(score(ready.evaluator, short)[1].tolist())
    sizes = block_sizes([window.targets for window in short.windows])
    by_segment = [sum(next(blocks) for _ in window) for window in sizes]
    by_update = np.asarray(by_segment).reshape(updates, -1).sum(1) / (batch * data.context)
    loss = score(ready.evaluator, long)[0].loss
    return Static(by_update, total, int(data.bytes_before[total]), longest, loss)
