"""Truncated cross-entropy (ForTIFAI, arXiv 2509.08972), and its rate-matched control."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from collapse_lm import rng
from collapse_lm.experiment.objectives.base import Chunk
from collapse_lm.experiment.objectives.update_mean import UpdateMean
from collapse_lm.measures.names import Number

Control = Literal["none", "random"]


class TruncatedNll:
    """-log p of the targets whose p is at most a threshold; the others count as 0.

    The step minimises the mean over all targets, those that were dropped included, as in the
    paper: where many are dropped the step is smaller too. The control drops as many targets
    of each chunk, chosen at random, whatever their p. So each text, and the update, has lost
    exactly as many as the truncation would have taken from it.
    """

    needs_base = False

    def __init__(self, threshold: float, control: Control, seed: int) -> None:
        self._threshold, self._control, self._seed = threshold, control, seed
        self._dropped = UpdateMean()
        self._numbers: torch.Generator | None = None  # of the update that `_dropped` is of

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return the sum over the targets, in nats."""
        nll_T = -chunk.log_p_TV.gather(-1, chunk.targets_T[:, None])[:, 0]
        drop_T = (-nll_T.detach()).exp() > self._threshold
        if self._control == "random":
            drop_T = self._as_many(drop_T, chunk.update)
        self._dropped.add(chunk.update, drop_T.sum(), len(drop_T))
        return nll_T.masked_fill(drop_T, 0.0).sum()

    def values(self) -> Mapping[str, Number]:
        """The share of the targets that were dropped."""
        return {"objective.dropped": self._dropped.value}

    def _as_many(self, drop_T: Tensor, update: int) -> Tensor:
        """As many targets, at random places; chunk after chunk from one stream of the update."""
        if self._numbers is None or update != self._dropped.update:
            self._numbers = rng.stream(self._seed, "objective", update)
        order_T = torch.randperm(len(drop_T), generator=self._numbers).to(drop_T.device)
        return torch.zeros_like(drop_T).index_fill(0, order_T[: int(drop_T.sum())], True)
