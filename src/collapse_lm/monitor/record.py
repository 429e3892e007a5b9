"""The record of a monitor: a run directory, written as observations come.

Rows stand only where something was observed, so that updates have gaps; everything else is as
a run leaves it. The row of a step is held until a later step, or the end, as a step may be
observed twice (rollouts, a probe) and be told of by the trainer too. A process that ends
without `close` still writes what it holds, unless it is killed.
"""

import os
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from collapse_lm._util.files import write_atomically, writing
from collapse_lm._util.paths import current_folder
from collapse_lm.config import IDENTITY_VERSION, Config, identity, to_yaml
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.endings import Stay
from collapse_lm.measures.names import Number, Row
from collapse_lm.rundir.layout import CONFIG, MANIFEST, SUMMARY, RunDirectory
from collapse_lm.rundir.lock import only_writer
from collapse_lm.rundir.recorder import Recorder, empty
from collapse_lm.rundir.rows import FORMAT_VERSION
from collapse_lm.rundir.summary import Summing, entered_states

MADE_BY = "monitor"
_SOUND = {
    "finished": "no collapse: the training ended",
    "interrupted": "no collapse: the training was stopped",
    "failed": "no collapse: the training failed",
}
STREAMS = ("probe", "rollouts")
_LOOKS = {"probe": "probes", "rollouts": "rollout_steps"}  # how many there were, in the summary
UNSEEN = "not looked at after the baseline"


def new_place(name: str) -> Path:
    """Make a new folder: runs/monitor-NAME-TIME, with -2, -3, ... where that is taken.

    Raises:
        MachineError: where no folder can be made.
    """
    first = Path("runs") / f"monitor-{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with writing(first):
        first.parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = first if number == 1 else first.with_name(f"{first.name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:  # another process has been quicker
                continue
            return path
    raise AssertionError("there are more numbers")


class MonitorRecord:
    """Writes a run directory.

    Args:
        path: new, or an empty folder.
        config: of the record.
        manifest: what is known of model and machine.

    Attributes:
        path: of the run directory.

    Raises:
        UserError: for a place that is in use.
        MachineError: where the disk fails.
    """

    def __init__(self, path: Path, config: Config, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self._config, self._manifest = config, dict(manifest)
        self._begin = time.perf_counter()
        self._looks = dict.fromkeys(_LOOKS.values(), 0)
        _require_free(path)
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        lock = ExitStack()
        lock.enter_context(only_writer(path))
        self._directory = RunDirectory.create(path, to_yaml(config), self._told("running"))
        self._rows = _Rows(Recorder(path, empty()), Summing(config.collapse))
        self._at_exit = weakref.finalize(self, _leave, self._rows, lock, os.getpid())

    def _told(self, status: str) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "made_by": MADE_BY,
            "status": status,
            "seed": self._config.seed,
            "identity_version": IDENTITY_VERSION,
            "config_sha256": identity(self._config),
            "folder": current_folder(),
            "process": os.getpid(),
            **self._manifest,
        }

    @property
    def step(self) -> int | None:
        """The newest step that was recorded; None without any."""
        return self._rows.step

    def describe(self, config: Config, manifest: Mapping[str, Any]) -> None:
        """Say more of what is observed, once that is known."""
        self._config = config
        self._manifest |= manifest
        if self._rows.step is None:
            self._rows.summing = Summing(config.collapse)
        write_atomically(self.path / CONFIG, to_yaml(config))
        self._directory.write_json(MANIFEST, self._told("running"))

    def require_later(self, step: int, stream: str) -> None:
        """Refuse a step that is past, or that the stream was observed at already.

        Raises:
            UserError: for such a step.
        """
        self._rows.require_later(step, stream)

    def takes(self, step: int) -> bool:
        """True for the newest step while its row is held, and for a later one."""
        return self._rows.takes(step)

    def add(
        self,
        step: int,
        values: Mapping[str, Number],
        stream: str | None = None,
        texts: Sequence[Text] = (),
        *,
        is_base: bool = False,
    ) -> None:
        """Add numbers to the row of a step, the newest or a later one.

        Args:
            step: of the trainer.
            values: by name.
            stream: probe or rollouts, where they are an observation.
            texts: of that stream.
            is_base: it is the baseline, of the model before any training.
        """
        self._rows.add(step, values, stream, texts)
        if stream is not None and not is_base:
            self._looks[_LOOKS[stream]] += 1

    def flush(self, before: int | None = None) -> None:
        """Write the row that is held; where a step is given, only if it is of an earlier one."""
        self._rows.flush(before)

    def close(self, status: str, more: Mapping[str, Any]) -> dict[str, Any]:
        """Write what is held, the summary, and last the manifest; let go of the folder."""
        self._rows.flush()
        summary = {**self._rows.summing.result(status, None), **self._looks, **more}
        summary["reason"] = reason_of(summary)
        summary = self._directory.write_json(SUMMARY, summary)
        seconds = round(time.perf_counter() - self._begin, 3)
        verdict, states = _sentence(summary["reason"]), entered_states(summary)
        ending = {"seconds": seconds, "verdict": verdict, "states": states}
        self._directory.write_json(MANIFEST, {**self._told(status), **ending})
        self._at_exit()
        return summary


def reason_of(summary: Mapping[str, Any]) -> str:
    """How a training that was observed ended, by the states of its probes and rollouts.

    Args:
        summary: with `status`, `endings` and, where there are rollouts, `rollout_endings`.
    """
    found = [
        (stay["entered"], f"{state}{whose} {_when(stay)}")
        for name, whose in (("endings", ""), ("rollout_endings", " of the rollouts"))
        for state, stay in summary.get(name, {}).items()
        if stay["entered"] is not None and state != "drift"
    ]
    told = [", ".join(words for _, words in sorted(found))]
    if summary.get("degenerate_before_training"):
        told.append("degenerate before any training")
    if any(told):
        return "; ".join(filter(None, told))
    if not any(summary.get(name, 1) for name in _LOOKS.values()):
        return UNSEEN
    return _SOUND.get(summary["status"], str(summary["status"]))


def _when(stay: Stay) -> str:
    left = stay["left"]
    return f"since step {stay['entered']}" if left is None else f"from {stay['entered']} to {left}"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


class _Rows:
    """The rows so far, and the one that is held."""

    def __init__(self, recorder: Recorder, summing: Summing) -> None:
        self.summing = summing
        self.step: int | None = None
        self._recorder = recorder
        self._values: dict[str, Number] = {}
        self._texts: dict[str, tuple[Text, ...]] = {}  # by stream
        self._is_held = False

    def takes(self, step: int) -> bool:
        is_later = self.step is None or step > self.step
        return is_later or (step == self.step and self._is_held)

    def require_later(self, step: int, stream: str) -> None:
        is_new = self.step is None or step > self.step or stream not in self._texts
        if not (self.takes(step) and is_new):
            fix = "steps only grow; a new training has a monitor of its own"
            raise UserError.single("step", step, f"a step after {self.step}", fix)

    def add(
        self,
        step: int,
        values: Mapping[str, Number],
        stream: str | None,
        texts: Sequence[Text],
    ) -> None:
        self.flush(step)
        self.step, self._is_held = step, True
        self._values |= values
        if stream is not None:
            self._texts[stream] = tuple(texts)

    def flush(self, before: int | None = None) -> None:
        if not self._is_held or self.step is None or (before is not None and before <= self.step):
            return
        row = Row(self.step, self._values)
        probe, rollouts = (Batch(self._texts.get(stream, ())) for stream in STREAMS)
        self._recorder.update(Record(row, rollouts, probe))
        self.summing.take(row)
        self._values, self._texts, self._is_held = {}, {}, False


def _leave(rows: _Rows, lock: ExitStack, process: int) -> None:
    """Write what is held and drop the lock; not in a process that was forked off."""
    if os.getpid() == process:
        rows.flush()
        lock.close()


def is_free(path: Path) -> bool:
    """True for a place where a record can be made: nothing is there, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _require_free(path: Path) -> None:
    if is_free(path):
        return
    fix = "another out, or none: a new folder is made below runs/ then"
    raise UserError.single(f"out {path}", "a place that is in use", "a new or empty folder", fix)
