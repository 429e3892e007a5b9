"""Dose: how much of training a model has had, by the two clocks of the theory of self-training.

Pure; knows nothing of models, texts or files.
"""

import math

from collapse_lm.measures.names import Number, Row


class Dose:
    """Sums over the steps so far.

    A drift of first order goes by the sum of the learning rates, whatever the batch; a random
    walk goes by the sum of their squares over the batch size, since the variance of a mean of
    n gradients is that of one over n (Mandt et al. 2017, section 2).

    Attributes:
        rate: sum of the learning rates.
        square: sum of the squared learning rates, each over the texts that its step was on.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self.square = 0.0

    def add(self, learning_rate: float, steps: int, texts: int) -> dict[str, Number]:
        """Add the steps of an update; return the sums by the names of their columns.

        Args:
            learning_rate: of each step.
            steps: that were applied; none of a step that was withheld.
            texts: of the batch.
        """
        if steps:
            self.rate += steps * learning_rate
            self.square += steps * learning_rate**2 / texts if texts else math.nan
        return {"dose.rate": self.rate, "dose.square": self.square}

    def replay(self, row: Row, texts: int) -> None:
        """Take the sums that a row tells; those of an older one, which does not, are added up.

        Args:
            row: of the next update.
            texts: of its batch; 0 where this is not known, and then `square` is not either.
        """
        if "dose.rate" in row.values:
            self.rate, self.square = row.get("dose.rate"), row.get("dose.square")
        elif "train.lr" in row.values:
            steps = row.values.get("train.steps", row.values.get("train.applied", 1))
            self.add(row.get("train.lr"), int(steps), texts)
