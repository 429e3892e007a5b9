"""One process at work on one run directory: follow the loop, record, show, and say how it ended."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from collapse_lm.config import Config
from collapse_lm.errors import MachineError
from collapse_lm.experiment.build import Parts
from collapse_lm.loop import self_train
from collapse_lm.models.own_code import is_out_of_memory
from collapse_lm.observers.base import Observer, RunFacts
from collapse_lm.observers.guard import Guarded
from collapse_lm.observers.report import ReportAtTheEnd
from collapse_lm.observers.trackers.choose import trackers_of
from collapse_lm.rundir.export import export_model
from collapse_lm.rundir.keeper import Keeper
from collapse_lm.rundir.layout import MANIFEST, SUMMARY, RunDirectory
from collapse_lm.rundir.reader import RunReader
from collapse_lm.rundir.recorder import Recorder
from collapse_lm.rundir.summary import Summing

_LOWER = (
    "sampling.batch_size, sampling.max_new_tokens, evaluation.context, training.window; "
    "precision=bfloat16 or a smaller model"
)


@dataclass(frozen=True)
class RunResult:
    """A run that ended: its directory and its summary."""

    directory: Path
    summary: dict[str, Any]

    @property
    def collapsed(self) -> bool:
        """True where the collapse rule was met."""
        return bool(self.summary["collapsed"])

    @property
    def collapse_update(self) -> int | None:
        """The first update of the collapse, None without one."""
        found: int | None = self.summary["collapse_update"]
        return found

    def _repr_html_(self) -> str | None:
        """How a notebook shows the run (see `RunReader`)."""
        return RunReader(self.directory)._repr_html_()

    def to_pandas(self, table: Literal["updates", "samples"] = "updates") -> Any:
        """Its rows as a data frame (see `RunReader.to_pandas`)."""
        return RunReader(self.directory).to_pandas(table)


@dataclass
class Process:
    """One process at work on one run directory, from its first or some later update."""

    directory: RunDirectory
    config: Config
    parts: Parts
    manifest: dict[str, Any]
    observers: Sequence[Observer]
    should_stop: Callable[[], bool]
    summing: Summing

    def go(self, recorder: Recorder) -> RunResult:
        """Follow the loop to its end and say how it ended."""
        self._begin = time.perf_counter() - self.manifest.get("seconds", 0)
        update, status = self.parts.state.update, "failed"
        trackers = trackers_of(self.config.run.trackers)  # last: they take figures and pages along
        reports = [ReportAtTheEnd()] if self.config.run.report else []
        watching = Guarded([*self.parts.observers, *self.observers, *reports, *trackers])
        watching.start(RunFacts(self.directory.path, self.config, self.manifest, update))
        try:
            with enough_memory():
                status = self._follow(recorder, watching)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                status = "interrupted"
            with suppress(MachineError, OSError):  # on a full disk "running" stays: resume knows
                watching.end(self._write_ending(status))
            raise
        summary = self._write_ending(status)
        watching.end(summary)
        return RunResult(self.directory.path, summary)

    def _follow(self, recorder: Recorder, watching: Guarded) -> str:
        """Put every record on disk and show it; return how the run ended."""
        state, settings = self.parts.state, self.config.run
        keeper = Keeper(recorder, state, settings.checkpoint_every, settings.checkpoints_kept)
        experiment = replace(self.parts.experiment, is_out_of_time=self._is_out_of_time)
        for record in self_train(state, experiment, self.summing.seen):
            recorder.update(record)
            self.summing.note(record.row)
            watching.update(record)
            if record.row.values.get("train.applied") == 0:
                return self._at_end("diverged", keeper)
            is_asked = self.should_stop()
            keeper.after_update(is_last=is_asked)
            if is_asked:
                return "interrupted"
        return self._at_end("finished", keeper)

    def _at_end(self, status: str, keeper: Keeper) -> str:
        """Leave the model and the last checkpoint of a run that ended by itself."""
        if self.config.run.export_model:  # while there is a checkpoint to come back to
            export_model(self.parts.model, self.directory.path)
        can_go_on = self._limit(status) is not None
        keeper.after_run(can_go_on=can_go_on, is_wanted=self._is_out_of_time())
        return status

    def _limit(self, status: str) -> str | None:
        """The key whose limit ended the run; None where the rule, a signal or a failure did."""
        update, most = self.parts.state.update, self.config.run.max_updates
        if status != "finished" or self.summing.is_stopped(update, most, self.config.collapse):
            return None
        return "run.max_updates" if update >= most else "run.max_minutes"

    def _is_out_of_time(self) -> bool:
        limit = self.config.run.max_minutes
        return limit is not None and time.perf_counter() - self._begin >= 60 * limit

    def _write_ending(self, status: str) -> dict[str, Any]:
        """Write the summary, and last the manifest: its status says that all is there."""
        found = self.summing.result(status, self._limit(status))
        summary = self.directory.write_json(SUMMARY, found)
        seconds = round(time.perf_counter() - self._begin, 3)
        ending = {"status": status, "seconds": seconds}
        self.directory.write_json(MANIFEST, {**self.manifest, **ending})
        return summary


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn an allocation that failed into an error that names the settings to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MachineError(
            "out of memory\n"
            f"  fix       start a run with lower {_LOWER};\n"
            "            or `collapse-lm resume` this one where there is more memory"
        ) from error
