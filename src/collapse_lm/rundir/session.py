"""The shell of a run: configuration -> parts -> loop -> run directory, and back again.

The only place where the loop meets the disk. Everything that can be wrong with the
input is found before anything is written. Knows nothing of the command line.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.config import Config, load_config, to_yaml
from collapse_lm.errors import MachineError, UserError
from collapse_lm.experiment.build import Parts, prepare
from collapse_lm.loop import self_train
from collapse_lm.measures.rule import Observation
from collapse_lm.observers.pictures import write_first_pictures
from collapse_lm.rundir import (
    RunDirectory,
    RunReader,
    UpdateRecord,
    checkpoints,
    observations,
    only_writer,
    summarize,
)
from collapse_lm.rundir.checkpoints import Keeper
from collapse_lm.rundir.layout import CONFIG, MANIFEST, SUMMARY, default_directory
from collapse_lm.rundir.manifest import check_same_inputs, describe
from collapse_lm.rundir.resume import Resumable, damage, read_run, samples_to_replay
from collapse_lm.rundir.rows import Row

Observer = Callable[[UpdateRecord], None]
_LOG = logging.getLogger(__name__)
_MODEL = "model"  # the folder of run.export_model
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
    observers: Sequence[Observer] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Do one run and leave its record on disk.

    Args:
        config: a configuration, the name of a preset, or the path of a YAML file.
        out: the run directory; by default runs/NAME-seedN-TIME below the current folder.
        overrides: `key=value` strings, for a name or path.
        observers: called with every record after it is on disk.
        should_stop: asked after every update; true ends the run as interrupted.

    Raises:
        UserError: for bad input, before anything was created.
        MachineError: when disk or memory fail; what was recorded stays, and `resume`
            goes on.
    """
    name = "run" if isinstance(config, Config) else Path(config).stem
    settings = config if isinstance(config, Config) else load_config(config, overrides)
    path = Path(out) if out is not None else default_directory(name, settings.seed)
    RunDirectory.check_free(path)
    with _enough_memory():
        parts = prepare(settings)
    manifest = describe(settings, parts)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    with only_writer(path):
        directory = RunDirectory.create(path, to_yaml(settings), manifest)
        return _Session(directory, settings, parts, manifest, observers, should_stop).go()


def resume(
    path: Path | str,
    *,
    overrides: Iterable[str] = (),
    observers: Sequence[Observer] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Go on with a run from its newest intact checkpoint, bit for bit as if never interrupted.

    A run that is over is left as it is. Without a checkpoint the run begins again.

    Args:
        path: the run directory.
        overrides: may change `run.max_updates`, to extend the run, and nothing else.
        observers: as for `run`.
        should_stop: as for `run`.

    Raises:
        UserError: for a directory that holds no run, is damaged, or is being written by
            another process; for another model, text or precision than the run began with.
        MachineError: when disk or memory fail; what was recorded stays.
    """
    found = read_run(Path(path), overrides)
    if found.is_over:
        return _ended(found)
    with _enough_memory():
        parts = prepare(found.config)
    check_same_inputs(found, parts)
    with only_writer(found.path):
        found = read_run(found.path, overrides)  # another process may have gone on meanwhile
        if found.is_over:
            return _ended(found)
        if found.manifest["status"] == "running":
            _LOG.info("process %s ended without a word; taking over", found.manifest.get("process"))
        return _continue(found, parts, observers, should_stop)


def _ended(found: Resumable) -> RunResult:
    """The result of a run that is over, with the files that it may have died before writing."""
    reader = RunReader(found.path)
    with damage(found.path / SUMMARY):
        summary = reader.summary() or {}
        _LOG.info("nothing to do: the run is over (%s)", summary["reason"])
    if not (found.path / "samples.md").is_file():
        with damage(found.path):
            write_first_pictures(found.path)
    return RunResult(found.path, summary)


def _continue(
    found: Resumable, parts: Parts, observers: Sequence[Observer], should_stop: Callable[[], bool]
) -> RunResult:
    directory, reader = RunDirectory(found.path), RunReader(found.path)
    checkpoint, damaged = checkpoints.newest(found.path)
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
    with damage(found.path):
        directory.clean()
        directory.cut(checkpoint.lengths if checkpoint else None)
        series = tuple(observations(reader.updates()))
        for samples in samples_to_replay(reader.samples()):
            parts.experiment.source.replay(samples)
        if checkpoint is not None:
            checkpoints.restore(checkpoint, parts.state)
    write_atomically(found.path / CONFIG, to_yaml(found.config))
    manifest = {**found.manifest, "status": "running", "process": os.getpid()}
    manifest["resumed_after"] = [*manifest.get("resumed_after", ()), parts.state.update]
    directory.write_json(MANIFEST, manifest)
    return _Session(directory, found.config, parts, manifest, observers, should_stop, series).go()


@dataclass
class _Session:
    """One process at work on one run directory, from its first or some later update."""

    directory: RunDirectory
    config: Config
    parts: Parts
    manifest: Row
    observers: Sequence[Observer]
    should_stop: Callable[[], bool]
    series: Sequence[Observation] = ()

    def go(self) -> RunResult:
        """Follow the loop to its end and say how it ended."""
        begin = time.perf_counter() - self.manifest.get("seconds", 0)
        parts, status = self.parts, "failed"
        try:
            with _enough_memory():
                records = self_train(parts.state, parts.experiment, self.series)
                status = self._follow(records)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                status = "interrupted"
            with suppress(MachineError, OSError):  # on a full disk "running" stays: resume knows
                self._write_ending(status, time.perf_counter() - begin)
            raise
        summary = self._write_ending(status, time.perf_counter() - begin)
        write_first_pictures(self.directory.path)
        return RunResult(self.directory.path, summary)

    def _follow(self, records: Iterable[UpdateRecord]) -> str:
        """Put every record on disk and show it; return how the run ended."""
        settings = self.config.run
        keeper = Keeper(
            self.directory,
            self.parts.state,
            settings.checkpoint_every,
            settings.checkpoints_kept,
        )
        status = "finished"
        for record in records:
            self.directory.append(record)
            for observe in self.observers:
                observe(record)
            if not record.applied:
                status = "diverged"
                break
            is_asked = self.should_stop()
            keeper.after_update(is_last=is_asked)
            if is_asked:
                return "interrupted"
        if settings.export_model:  # while there is a checkpoint to come back to
            _export(self.parts, self.directory.path)
        keeper.after_run(can_go_on=status == "finished" and not self._stopped_by_collapse())
        return status

    def _stopped_by_collapse(self) -> bool:
        return self.config.collapse.stop and bool(self._summary("finished")["collapsed"])

    def _summary(self, status: str) -> Row:
        """Sum up what is on disk: nothing of the series is kept in memory twice."""
        rows = RunReader(self.directory.path).updates()
        return summarize(rows, self.parts.experiment.rule, status)

    def _write_ending(self, status: str, seconds: float) -> Row:
        """Write the summary, and last the manifest: its status says that all is there."""
        summary = self._summary(status)
        self.directory.write_json(SUMMARY, summary)
        ending = {"status": status, "seconds": round(seconds, 3)}
        self.directory.write_json(MANIFEST, {**self.manifest, **ending})
        return summary


def _export(parts: Parts, path: Path) -> None:
    """Write RUN/model as a whole or not at all."""
    place, workplace = path / _MODEL, path / f".{_MODEL}"
    with writing(place, SafetensorError):
        shutil.rmtree(workplace, ignore_errors=True)
        try:
            parts.model.save(workplace)
            shutil.rmtree(place, ignore_errors=True)
            workplace.rename(place)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


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
