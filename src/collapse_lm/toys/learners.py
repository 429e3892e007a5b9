"""Learners that take the maximum-likelihood estimate in one step, from the gradient alone.

A toy is an exponential family, so the gradient of its mean negative log-likelihood is the
mean of its statistics under the model minus that over the text. What the text says is
therefore the model's own mean minus the gradient. They are optimizers like any other, handed
over from Python:

    collapse_lm.run("quickstart", overrides=[...], optimizer=MultinomialLikelihood)

Take `training.grad_clip: null`: a gradient that was scaled down tells another text. Both need
the plain objective and a model that is trained in float32.

Shapes: V types.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_NONE = 1e-6  # a share of a text below this is rounding: one word in a million tokens
_LOST = -80.0  # logit of a word that is lost for good: e to it is 0 beside that of any other


class _Likelihood(torch.optim.Optimizer):
    """An optimizer without settings; the learning rate has no effect."""

    def __init__(self, groups: Iterable[Any], learning_rate: float = 0.0) -> None:
        super().__init__(groups, {"lr": learning_rate})

    def _parameters(self) -> list[Any]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


class MultinomialLikelihood(_Likelihood):
    """A unigram takes over the shares of the words in its text: a step of Wright and Fisher.

    A word that the text lacks is lost.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Set the logits to the log of the shares."""
        (logits_V,) = self._parameters()
        shares_V = logits_V.double().softmax(0) - logits_V.grad.double()
        found_V = torch.where(shares_V > _NONE, shares_V, 0.0)
        logits_V.copy_(found_V.log().clamp(min=_LOST))


class GaussianLikelihood(_Likelihood):
    """A Gaussian takes over mean and variance (divided by n, the biased one) of its text.

    That of the bins' middles; the width of a bin is neglected, and no deviation falls below it.
    """

    def __init__(
        self, groups: Iterable[Any], learning_rate: float = 0.0, narrowest: float = 0.004
    ) -> None:
        super().__init__(groups, learning_rate)
        self._narrowest = math.log(narrowest)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Set mean and log deviation to those of the text."""
        mean, log_deviation = self._parameters()
        old, variance = mean.double(), (2 * log_deviation.double()).exp()
        shift = -variance * mean.grad.double()
        spread = variance * (1 - log_deviation.grad.double()) - shift**2
        mean.copy_(old + shift)
        log_deviation.copy_(_half_log(spread).clamp(min=self._narrowest))


def _half_log(variance: Tensor) -> Tensor:
    return 0.5 * variance.clamp(min=1e-12).log()
