"""Several processes that train one model: the first observes, and all stop together.

The first process probes by its own clock, which needs no other: the rest wait for it where
they train together. What all must do alike (stop, or be switched off) they agree on, at steps
that all of them know: at each meeting the first tells when the next is. Knows no monitor.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_APART = 1.0  # seconds between two meetings, about; a meeting takes well under a millisecond
_MOST = 1000  # steps


@dataclass(frozen=True)
class Word:
    """What a process brings to a meeting; of all processes together, what they agree on.

    Attributes:
        failed: a number over 0 where something failed; of several the greatest counts.
        is_refused: the monitor cannot start.
        stop: the training is to end.
        wait: steps to the next meeting.
    """

    failed: int = 0
    is_refused: bool = False
    stop: bool = False
    wait: int = 1


class Processes:
    """The processes that train together.

    Args:
        rank: of this one, from 0.
        size: how many there are.
        device: on which they exchange numbers.
        clock: seconds.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        device: Any = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank, self.size = rank, size
        self._device, self._clock = device, clock
        self._last: tuple[int, float] | None = None  # step and time of the last meeting
        self._next = 0

    @classmethod
    def of(cls, args: Any) -> "Processes":
        """Those of a trainer, by its arguments."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
            return cls(rank, size, args.device)
        return cls(args.process_index, 1)

    @property
    def observes(self) -> bool:
        """True in the process that observes and writes."""
        return self.rank == 0

    @property
    def failure(self) -> int:
        """What this process says where it has failed: of several the first one counts."""
        return self.size - self.rank

    def is_first_of(self, failed: int) -> bool:
        """True in the one process that tells a failure which all have agreed on."""
        return failed == self.failure

    def meets(self, step: int) -> bool:
        """True at a step at which all processes meet, in each of them."""
        return step >= self._next

    def meet(self, step: int, word: Word, *, every: int | None = None) -> Word:
        """Agree. Every process must call it at the same steps.

        Args:
            step: of the training.
            word: of this process.
            every: the steps at which a meeting must not be missed are multiples of that.
        """
        agreed = self._agree(Word(word.failed, word.is_refused, word.stop, self._wait(step, every)))
        self._last = step, self._clock()
        self._next = step + agreed.wait
        return agreed

    def _agree(self, word: Word) -> Word:
        if self.size == 1:
            return word
        mine = [word.failed, word.is_refused, word.stop, word.wait if self.observes else 0]
        told = torch.tensor(mine, dtype=torch.int64, device=self._device)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        failed, refused, stop, wait = told.tolist()
        return Word(failed, bool(refused), bool(stop), wait)

    def _wait(self, step: int, every: int | None) -> int:
        """Steps to the next meeting, by how long the last ones took."""
        if self.size == 1 or self._last is None:
            return 1
        before, at = self._last
        each = (self._clock() - at) / max(1, step - before)
        wait = max(1, min(_MOST, int(_APART / max(each, 1e-9))))
        return wait if every is None else min(wait, every - step % every)


def sharding_of(model: Any) -> str | None:
    """By what the weights of a model lie in pieces in several processes; None where they do not.

    Such a model cannot be read by one process alone.
    """
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return "FSDP"
    for parameter in model.parameters():
        if hasattr(parameter, "ds_id"):
            return "DeepSpeed ZeRO-3"
        if hasattr(parameter, "device_mesh"):
            return "FSDP or tensor parallelism"
    return None
