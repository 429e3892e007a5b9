"""The shell of a run: configuration -> parts -> loop -> run directory, and back again.

The only place where the loop meets the disk. Everything that can be wrong with the
input is found before anything is written. Knows nothing of the command line.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.config import IDENTITY_VERSION, Config, identity, load_config, to_yaml
from collapse_lm.config.handing import (
    Handed,
    hand_again,
    hand_over,
    loose_observers,
    with_overrides,
)
from collapse_lm.errors import MachineError, UserError
from collapse_lm.experiment.build import Parts, prepare
from collapse_lm.loop import self_train
from collapse_lm.measures.rule import last_update
from collapse_lm.observers.base import Observer, RunFacts
from collapse_lm.observers.guard import Guarded, built
from collapse_lm.rundir import checkpoints
from collapse_lm.rundir.checkpoints import Checkpoint
from collapse_lm.rundir.export import export_model
from collapse_lm.rundir.keeper import Keeper
from collapse_lm.rundir.layout import (
    CONFIG,
    MANIFEST,
    PAGE,
    SUMMARY,
    RunDirectory,
    default_directory,
)
from collapse_lm.rundir.lock import only_writer
from collapse_lm.rundir.manifest import check_same_inputs, compute_of, describe
from collapse_lm.rundir.reader import RunReader
from collapse_lm.rundir.recorder import Recorder, empty
from collapse_lm.rundir.resume import Resumable, damage, read_run
from collapse_lm.rundir.rows import FORMAT_VERSION
from collapse_lm.rundir.summary import Summing, sum_up

_LOG = logging.getLogger(__name__)
_LOWER = (
    "sampling.batch_size, sampling.max_new_tokens, evaluation.context, training.window; "
    "precision=bfloat16 or a smaller model"
)


@dataclass(frozen=True)
class RunResult:
    """A run that ended: its directory and its summary."""

    directory: Path
    summary: dict[str, Any]


def run(
    config: Config | str | Path,
    out: Path | str | None = None,
    *,
    overrides: Iterable[str] = (),
    source: Any = None,
    objective: Any = None,
    optimizer: Any = None,
    measures: Sequence[Any] = (),
    observers: Sequence[Any] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Do one run and leave its record on disk.

    Parts may be handed over as objects (docs/extending.md): a configuration, a class that
    is made with the run's context, or an object or function that does the work. The record
    names them, and a resume must be given them again.

    Args:
        config: a configuration, the name of a preset, or the path of a YAML file.
        out: the run directory; by default runs/NAME-seedN-TIME below the current folder.
        overrides: `key=value` strings.
        source: in place of the configuration's.
        objective: likewise.
        optimizer: likewise; a class is made with parameter groups and the learning rate.
        measures: beside those of the configuration.
        observers: beside those of the configuration; they see each record once it is on
            disk, and one that raises is told and switched off.
        should_stop: asked after every update; true ends the run as interrupted.

    Raises:
        UserError: for bad input, before anything was created.
        MachineError: when disk or memory fail; what was recorded stays, and `resume`
            goes on.
    """
    name = "run" if isinstance(config, Config) else Path(config).stem
    words, watching = list(overrides), list(observers)
    if isinstance(config, Config):
        settings = with_overrides(config, words)
        watching += loose_observers(config)
    else:
        settings = load_config(config, words)
    settings = hand_over(settings, Handed(source, objective, optimizer, measures))
    path = Path(out) if out is not None else default_directory(name, settings.seed)
    RunDirectory.check_free(path)
    observing = built(watching)
    with _enough_memory():
        parts = prepare(settings)
    manifest = describe(settings, parts)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    with only_writer(path):
        directory = RunDirectory.create(path, to_yaml(settings), manifest)
        session = _Session(
            directory,
            settings,
            parts,
            manifest,
            observing,
            should_stop,
            Summing(settings.collapse),
        )
        return session.go(Recorder(path, empty()))


def resume(
    path: Path | str,
    *,
    overrides: Iterable[str] = (),
    source: Any = None,
    objective: Any = None,
    optimizer: Any = None,
    measures: Sequence[Any] = (),
    observers: Sequence[Any] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Go on with a run from its newest intact checkpoint, bit for bit as if never interrupted.

    A run that is over is left as it is. Without a checkpoint the run begins again.
    Precision, device and threads are those that the run began with.

    Args:
        path: the run directory.
        overrides: may change keys that decide no number: `run.max_updates`, to extend the
            run, observers, checkpoints.
        source: the object that the run was given, if it was given one.
        objective: likewise.
        optimizer: likewise.
        measures: likewise, in their order.
        observers: as for `run`.
        should_stop: as for `run`.

    Raises:
        UserError: for a directory that holds no run, is damaged, or is being written by
            another process; for another model or text than the run began with.
        MachineError: when disk or memory fail; what was recorded stays.
    """
    overrides = list(overrides)
    found = read_run(Path(path), overrides)
    if found.is_over:
        return _ended(found)
    with damage(found.path / MANIFEST):
        compute = compute_of(found.manifest)
    with _threads_of(found), only_writer(found.path):
        found = _again_if_changed(found, overrides)
        if found.is_over:
            return _ended(found)
        handed = Handed(source, objective, optimizer, measures)
        found = replace(found, config=hand_again(found.config, handed))
        observing = built(observers)
        with _enough_memory():
            parts = prepare(found.config, compute)
        check_same_inputs(found, parts)
        if found.manifest["status"] == "running":
            _LOG.info("process %s ended without a word; taking over", found.manifest.get("process"))
        return _continue(found, parts, observing, should_stop)


def _again_if_changed(found: Resumable, overrides: Sequence[str]) -> Resumable:
    """Read a run again where another process has gone on with it meanwhile."""
    with damage(found.path):
        sizes = {name: (found.path / name).stat().st_size for name in found.snapshot.content}
        is_same = RunReader(found.path).manifest() == found.manifest
    if is_same and sizes == {name: len(c) for name, c in found.snapshot.content.items()}:
        return found
    return read_run(found.path, overrides)


@contextmanager
def _threads_of(found: Resumable) -> Iterator[None]:
    """Compute with as many threads as the run began with, for the body of a with statement."""
    before, wanted = torch.get_num_threads(), found.manifest.get("threads")
    if isinstance(wanted, int) and 0 < wanted != before:
        _LOG.info("with %d threads, as the run began (here: %d)", wanted, before)
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ended(found: Resumable) -> RunResult:
    """The result of a run that is over, with the pictures that it may have died before drawing."""
    from collapse_lm.config.parts import Pictures
    from collapse_lm.observers.pictures import draw_run

    with damage(found.path / SUMMARY):
        summary = RunReader(found.path).summary() or {}
        _LOG.info("nothing to do: the run is over (%s)", summary["reason"])
    is_drawn = any(isinstance(observer, Pictures) for observer in found.config.observers)
    if is_drawn and not (found.path / PAGE).is_file():
        with damage(found.path):
            draw_run(found.path)
    return RunResult(found.path, summary)


def _continue(
    found: Resumable, parts: Parts, observers: Sequence[Observer], should_stop: Callable[[], bool]
) -> RunResult:
    directory, checkpoint = RunDirectory(found.path), _checkpoint(found)
    with damage(found.path):
        snapshot = found.snapshot.cut(checkpoint.rows if checkpoint else None)
        for row in snapshot.samples:
            parts.experiment.source.replay(row.texts)
            parts.experiment.probe.replay(row.probe)
        if checkpoint is not None:
            checkpoints.restore(checkpoint, parts.state)
        summing = sum_up(snapshot.rows, found.config.collapse)
        directory.clean()
        directory.cut(snapshot.content)  # only now: nothing can fail any more that rows depend on
        (found.path / PAGE).unlink(missing_ok=True)  # drawn last: without it, pictures are old
    manifest = {**found.manifest, "status": "running", "process": os.getpid()}
    manifest["format_version"], manifest["identity_version"] = FORMAT_VERSION, IDENTITY_VERSION
    manifest["config_sha256"] = identity(found.config)
    manifest["resumed_after"] = [*manifest.get("resumed_after", ()), parts.state.update]
    directory.write_json(MANIFEST, manifest)  # first: it fits the former configuration too
    write_atomically(found.path / CONFIG, to_yaml(found.config))
    session = _Session(directory, found.config, parts, manifest, observers, should_stop, summing)
    return session.go(Recorder(found.path, snapshot.content))


def _checkpoint(found: Resumable) -> Checkpoint | None:
    """The newest checkpoint that can be used; None where the run begins again."""
    checkpoint, damaged = checkpoints.newest(found.path, found.snapshot)
    for bad in damaged:
        _LOG.warning("checkpoint %s cannot be used: %s", bad.path.name, bad.why)
    if checkpoint is None and damaged:
        raise UserError.single(
            str(found.path / checkpoints.FOLDER),
            "no checkpoint that can be used",
            "one whose hashes hold",
            "restore one; or remove the folder, and the run begins again, dropping its rows",
        )
    if checkpoint is None:
        _LOG.info("no checkpoint: beginning again with the base model")
    else:
        _LOG.info("resuming after update %d", checkpoint.update)
    return checkpoint


@dataclass
class _Session:
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
        watching = Guarded([*self.parts.observers, *self.observers])
        watching.start(RunFacts(self.directory.path, self.config, self.manifest, update))
        try:
            with _enough_memory():
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
        for record in self_train(state, experiment, self.summing.watch):
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
        verdict, rule, update = self.summing.verdict, self.config.collapse, self.parts.state.update
        last = last_update(verdict, self.config.run.max_updates, rule.aftermath)
        if status != "finished" or (rule.stop and verdict.collapsed and update >= last):
            return None
        return "run.max_updates" if update >= self.config.run.max_updates else "run.max_minutes"

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
def _enough_memory() -> Iterator[None]:
    """Turn an allocation that failed into an error that names the settings to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        words = str(error)
        is_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not is_memory and "can't allocate memory" not in words and "bad_alloc" not in words:
            raise
        raise MachineError(
            "out of memory\n"
            f"  fix       start a run with lower {_LOWER};\n"
            "            or `collapse-lm resume` this one where there is more memory"
        ) from error
