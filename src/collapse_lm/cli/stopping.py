"""A first signal asks a run to end after its update; a second one ends it now.

The signals are SIGINT, SIGTERM and SIGHUP: a terminal that is closed ends a run as a
request does, with a checkpoint, unless it was started to outlive it (nohup).
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
_OUTPUTS = (1, 2)


class StopRequest:
    """A context in which a signal is a request; calling it tells whether one came."""

    def __init__(self) -> None:
        self.signal_number = 0
        self.is_running = False  # until the first record there is nothing to finish
        self._previous: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __call__(self) -> bool:
        """True once a signal has come; asked after every record."""
        self.is_running = True
        return bool(self.signal_number)

    def __enter__(self) -> Self:
        self._terminals = [output for output in _OUTPUTS if os.isatty(output)]
        for number in _signals():
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
        if number == _HANGUP:
            _leave(self._terminals)
            if self.signal_number:  # shell and system both tell that a terminal is closed
                return
        if self.signal_number or not self.is_running:
            self.signal_number = number
            raise KeyboardInterrupt
        self.signal_number = number
        with suppress(OSError):
            print("\nending after this update (again: end now)", file=sys.stderr)


def _signals() -> list[int]:
    """Those that are requests: SIGHUP only where nobody asked for it to be ignored."""
    is_heard = _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([_HANGUP] if _HANGUP and is_heard else [])]


def _leave(terminals: list[int]) -> None:
    """Print nowhere what would go to a terminal that has been closed: that would raise."""
    for output in terminals:
        try:
            os.write(output, b"\n")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, output)
            os.close(nowhere)


def until_signal(work: Callable[[StopRequest], None]) -> None:
    """Do work that a signal may end; the exit code tells which one."""
    stop = StopRequest()
    try:
        with stop:
            work(stop)
    except KeyboardInterrupt:
        sys.exit(128 + (stop.signal_number or signal.SIGINT))
    if stop.signal_number:
        sys.exit(128 + stop.signal_number)
