"""When a checkpoint is written, and how many are kept."""

import time
from collections.abc import Callable
from typing import Literal

from collapse_lm.loop import RunState
from collapse_lm.rundir.checkpoints import prune, save, state_bytes
from collapse_lm.rundir.recorder import Recorder

Every = int | Literal["auto", "off"]
_SHARE = 0.04  # of a run's time, which `auto` spends on checkpoints at most
_FIRST_GUESS = 200e6  # bytes/s expected of the disk before the first checkpoint


class Schedule:
    """When a checkpoint is due: every n updates, never, or as often as costs 4 % of the time."""

    def __init__(
        self, every: Every, size: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._every, self._clock = every, clock
        self._cost = 0.02 + size / _FIRST_GUESS  # seconds of a checkpoint, as far as known
        self._last = clock()

    def is_due(self, update: int) -> bool:
        """True where a checkpoint should follow this update."""
        if self._every == "off":
            return False
        if self._every == "auto":
            return (self._clock() - self._last) * _SHARE >= self._cost
        return update % self._every == 0

    def took(self, seconds: float) -> None:
        """Learn what the checkpoint that has just been written cost."""
        self._cost, self._last = seconds, self._clock()


class Keeper:
    """The checkpoints of a run while a process is at work on it.

    Args:
        recorder: of the run's rows.
        state: what is saved.
        every: updates between checkpoints, or auto, or off.
        kept: checkpoints to keep; 0 keeps one, and none once the run has ended.
    """

    def __init__(self, recorder: Recorder, state: RunState, every: Every, kept: int) -> None:
        self._recorder, self._state, self._kept = recorder, state, kept
        self._is_off, self._is_auto = every == "off", every == "auto"
        self._schedule = Schedule(every, state_bytes(state))
        self._saved = state.update  # a run that begins or resumes here loses nothing before it

    def after_update(self, *, is_last: bool) -> None:
        """Save where a checkpoint is due, or where the process is about to end."""
        if is_last or self._schedule.is_due(self._state.update):
            self._save()

    def after_run(self, *, can_go_on: bool, is_wanted: bool = False) -> None:
        """Leave the last checkpoint of a run that can be extended, and none of any other.

        Under `auto` the end gets one only where one is due: what a run was too short to
        save is soon done again.

        Args:
            can_go_on: the run can be extended.
            is_wanted: the end gets one in any case: the run ended by its time, not by its
                length, and shall go on from there.
        """
        is_kept = can_go_on and self._kept > 0
        is_due = not self._is_auto or self._schedule.is_due(self._state.update)
        if is_kept and (is_wanted or is_due):
            self._save()
        prune(self._recorder.path, 1 if is_kept else 0)

    def _save(self) -> None:
        if self._is_off or self._state.update == self._saved:
            return
        begin = time.perf_counter()
        save(self._recorder, self._state)
        prune(self._recorder.path, max(1, self._kept))
        self._saved = self._state.update
        self._schedule.took(time.perf_counter() - begin)
