"""When a probe is due, and what the monitor has cost so far. Knows nothing of models."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal


class Pace:
    """A stopwatch over all that a monitor does, and the decision that follows from it.

    Args:
        every: steps between probes, or auto: whenever what was spent and what the next probe
            is expected to take are within the budget.
        budget: share of the time since the start.
        clock: gives seconds.

    Attributes:
        spent: seconds of the monitor so far.
    """

    def __init__(
        self,
        every: int | Literal["auto"],
        budget: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._every, self._budget, self._clock = every, budget, clock
        self._begin: float | None = None
        self._inside = False
        self._next = 0.0  # seconds that the next probe is expected to take
        self.spent = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the body of a with statement; the first one begins the time. May be nested."""
        begin = self._clock()
        self._begin = begin if self._begin is None else self._begin
        if self._inside:
            yield
            return
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            self.spent += self._clock() - begin

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Count the body as a probe: the next one is expected to take as long."""
        begin = self._clock()
        with self.counting():
            yield
            self.expect(self._clock() - begin)

    def expect(self, seconds: float) -> None:
        """Say how long the next probe will take, as far as is known."""
        self._next = seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return 0.0 if self._begin is None else self._clock() - self._begin

    @property
    def share(self) -> float:
        """Share of the time since the start that the monitor took."""
        return self.spent / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def wait(self) -> float:
        """Seconds until the budget allows the next probe; 0 where steps decide."""
        if self._every != "auto":
            return 0.0
        return max(0.0, (self.spent + self._next) / self._budget - self.elapsed)

    def is_due(self, step: int) -> bool:
        """True where a probe is due at a step."""
        if self._every != "auto":
            return step % self._every == 0
        return self.spent + self._next <= self._budget * self.elapsed
