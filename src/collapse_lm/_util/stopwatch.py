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
        """Time the body of a with statement."""
        begin = time.perf_counter()
        yield
        self.seconds[f"seconds.{phase}"] = round(time.perf_counter() - begin, 4)
