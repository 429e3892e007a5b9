"""Random numbers of a source that may stand within other sources."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from collapse_lm import rng
from collapse_lm.experiment.models import Moment


@dataclass(frozen=True)
class Numbers:
    """Streams of the purpose `source`, others for every place in a nest of sources.

    Attributes:
        seed: of the run.
        depth: sources that stand within; 0 for one that wraps none.
    """

    seed: int
    depth: int = 0

    def of(self, at: Moment, which: int = 0) -> torch.Generator:
        """The stream of a moment; `which` tells several of one source apart."""
        name = [self.depth, at.attempt, which]
        while name and not name[-1]:
            name.pop()
        return rng.stream(self.seed, "source", at.update, *name)


def places(share: float, count: int, numbers: torch.Generator) -> list[int]:
    """Choose a share of `count` places at random.

    Where the share is no whole number of them, one more is chosen as often as makes the
    share right on average: of a single place, in that share of the updates.
    """
    wanted = int(share * count + float(torch.rand((), generator=numbers, dtype=torch.float64)))
    order: Tensor = torch.randperm(count, generator=numbers)
    return sorted(itertools.islice(order.tolist(), wanted))


def chosen(count: int, of: int, numbers: torch.Generator) -> list[int]:
    """Choose `count` of the numbers below `of`, none twice; sorted."""
    return sorted(torch.randperm(of, generator=numbers)[:count].tolist())
