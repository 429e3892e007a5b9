"""The one interface of all objectives.

Logits of a long text do not exist all at once, so an objective is asked chunk by chunk.

Shapes: T targets of the chunk, S tokens before them, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from collapse_lm.errors import UserError
from collapse_lm.machine.compute import at_least_float32
from collapse_lm.measures.names import Number


@dataclass(frozen=True)
class Chunk:
    """Neighbouring targets of one text, with the logits that predict them.

    Attributes:
        logits_TV: of the trained model, under autograd.
        targets_T: token ids to predict.
        before_S: the ids of the text before the first target, prompt included; the target
            at place t also has `targets_T[:t]` before it.
        nll: sum over the targets of -log p, in nats, under autograd.
        base_TV: logits of the base model; None unless the objective needs them.
        update: number of the update, so that an objective can tell where one begins.
    """

    logits_TV: Tensor
    targets_T: Tensor
    before_S: Tensor
    nll: Tensor
    base_TV: Tensor | None
    update: int

    @cached_property
    def log_p_TV(self) -> Tensor:  # noqa: N802 (shape suffix)
        """Log-probabilities of every token, in at least float32, under autograd.

        Made once, however many terms of an objective read them.
        """
        with torch.enable_grad():  # whoever reads them first: others need the gradient
            return at_least_float32(self.logits_TV).log_softmax(-1)


class Objective(Protocol):
    """What a step minimises: the mean over all targets of the batch of what this returns.

    An objective that adapts from update to update is `Stateful` too; one that has numbers to
    tell is `Telling`. The recorded train loss is the plain negative log-likelihood whatever
    the objective.

    Attributes:
        needs_base: true where chunks must hold the logits of the base model.
    """

    @property
    def needs_base(self) -> bool:
        """True where chunks must hold the logits of the base model."""
        ...

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return a sum over the targets of the chunk, in nats, as a scalar under autograd."""
        ...


@runtime_checkable
class Telling(Protocol):
    """An objective that has numbers of its own for the row of an update."""

    def values(self) -> Mapping[str, Number]:
        """Return numbers by dotted name; asked after each step, of the update so far."""
        ...


class FunctionObjective:
    """An objective that is a function of the chunk, and remembers nothing."""

    needs_base = False

    def __init__(self, function: Callable[[Chunk], Tensor]) -> None:
        self._function = function

    def __call__(self, chunk: Chunk) -> Tensor:
        """Return what the function does.

        Raises:
            UserError: where that is no scalar tensor.
        """
        loss = self._function(chunk)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise UserError.single(
                "objective",
                f"{type(loss).__name__}: {loss!r}"[:80],
                "a sum over the targets of the chunk, a scalar tensor under autograd",
                "docs/extending.md shows one",
            )
        return loss
