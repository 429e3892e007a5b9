"""The first SIGINT or SIGTERM asks a run to end after its update; a second one ends it now."""

import signal
import sys
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequest:
    """A context in which a signal is a request; calling it tells whether one came."""

    def __init__(self) -> None:
        self.signal_number = 0
        self.is_running = False  # until the first record there is nothing to finish
        self._previous: dict[int, Any] = {}

    def __call__(self) -> bool:
        """True once a signal has come; asked after every record."""
        self.is_running = True
        return bool(self.signal_number)

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number or not self.is_running:
            self.signal_number = number
            raise KeyboardInterrupt
        self.signal_number = number
        print("\nending after this update (again: end now)", file=sys.stderr)
