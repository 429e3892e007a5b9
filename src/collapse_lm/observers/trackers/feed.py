"""Feeds a tracker from a thread, so that one that fails, hangs or is slow costs a run nothing.

What a run has to tell goes into a queue of a fixed size. A tracker that raises, or that
lets its queue run full, is told once and not fed any more; the end of a run waits for it
ten seconds. The record in the run directory is complete in any case.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from collapse_lm.experiment.batch import Record
from collapse_lm.observers.base import RunFacts
from collapse_lm.observers.trackers.base import TrackedRun, Tracker
from collapse_lm.observers.trackers.tell import Teller, texts_in

_LOG = logging.getLogger(__name__)
ROOM = 2000  # updates that a tracker may lag behind
PATIENCE = 10.0  # seconds that the end of a run waits for it
_GONE = "%s: %s; it is not told any more. The record in the run directory is complete"
_BUSY = "tracker %s is still busy %g s after the run, %d calls behind; its thread goes on"

_Task = Callable[[], None]


class Tracked:
    """A tracker as an observer.

    Args:
        name: of the tracker, for notices.
        make: makes it; called in its thread, as importing a tracker may take seconds.
        room: updates that it may lag behind.
        patience: seconds that `end` waits for it.
    """

    def __init__(
        self, name: str, make: Callable[[], Tracker], room: int = ROOM, patience: float = PATIENCE
    ) -> None:
        self._name, self._make, self._patience = name, make, patience
        self._tasks: queue.Queue[_Task | None] = queue.Queue(room)
        self._is_off = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)

    def start(self, run: RunFacts) -> None:
        """Begin to tell; the tracker opens in its thread."""
        config = run.config.model_dump(mode="json")
        teller = Teller(TrackedRun.of(run.directory, config, run.update), run.config.collapse)
        self._teller = teller
        self._put(lambda: teller.open(self._make()))
        self._thread.start()

    def update(self, record: Record) -> None:
        """Put an update into the queue; never wait."""
        teller, row, texts = self._teller, record.row, texts_in(record)
        self._put(lambda: teller.update(row, texts))

    def end(self, summary: Mapping[str, Any]) -> None:
        """Let the tracker finish, and wait for it no longer than `patience`."""
        teller, told = self._teller, dict(summary)
        self._put(lambda: teller.end(told))
        self._put(None)
        if self._is_off.is_set():
            return
        self._thread.join(self._patience)
        if self._thread.is_alive():
            _LOG.warning(_BUSY, self._name, self._patience, self._tasks.qsize())

    def _put(self, task: _Task | None) -> None:
        if self._is_off.is_set():
            return
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self._switch_off(f"{self._tasks.maxsize} updates behind")

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None and not self._is_off.is_set():
            try:
                task()
            except BaseException as error:  # whatever a tracker raises, SystemExit included
                self._switch_off(f"failed: {type(error).__name__}: {error}")
                break
        if self._is_off.is_set():
            self._close_quietly()

    def _switch_off(self, why: str) -> None:
        if not self._is_off.is_set():
            self._is_off.set()
            _LOG.warning(_GONE, f"tracker {self._name}", why)

    def _close_quietly(self) -> None:
        try:
            self._teller.close()
        except BaseException:
            _LOG.debug("tracker %s did not close", self._name, exc_info=True)
