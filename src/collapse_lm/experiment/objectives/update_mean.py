"""The mean of something over all targets of an update, which come chunk after chunk."""

import math

from torch import Tensor


class UpdateMean:
    """A sum over targets, and their number; it begins anew with each update.

    Attributes:
        update: that it is of; 0 before the first.
        total: the sum.
        count: of targets.
    """

    def __init__(self) -> None:
        self.update, self.total, self.count = 0, 0.0, 0

    def add(self, update: int, total: Tensor, count: int) -> None:
        """Add the sum over some targets of an update."""
        if update != self.update:
            self.update, self.total, self.count = update, 0.0, 0
        self.total += float(total.detach())
        self.count += count

    @property
    def value(self) -> float:
        """The mean so far; NaN without a target."""
        return self.total / self.count if self.count else math.nan
