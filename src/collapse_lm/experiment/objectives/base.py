"""The one interface of all objectives.

Logits of a long text do not exist all at once, so an objective is asked chunk by chunk.

Shapes: T targets of the chunk, S tokens before them, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from collapse_lm.errors import UserError


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


class Objective(Protocol):
    """What a step minimises: the mean over all targets of the batch of what this returns.

    An objective that adapts from update to update is `Stateful` too. The recorded train
    loss is the plain negative log-likelihood whatever the objective.

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
