"""Wall time of the phases of a piece of work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Wall time of the named phases of one update.

    Attributes:
        seconds: by the name of the phase's column.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, phase: str) -> Iterator[None]:
        """Time the body of a with statement; what a phase takes in parts adds up."""
        begin, column = time.perf_counter(), f"seconds.{phase}"
        yield
        spent = self.seconds.get(column, 0.0) + time.perf_counter() - begin
        self.seconds[column] = round(spent, 4)
