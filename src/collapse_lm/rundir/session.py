"""The shell of a run: configuration -> parts -> loop -> run directory, and back again.

The only place where the loop meets the disk. Everything that can be wrong with the
input is found before anything is written. Knows nothing of the command line.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from collapse_lm._util.files import write_atomically, writing
from collapse_lm._util.paths import as_begun_in
from collapse_lm.config import (
    IDENTITY_VERSION,
    Config,
    Overrides,
    identity,
    load_config,
    to_yaml,
    words_of,
)
from collapse_lm.config.handing import (
    Handed,
    hand_again,
    hand_over,
    loose_observers,
    several,
    with_overrides,
)
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import Parts, prepare
from collapse_lm.experiment.ready import ReadyModel
from collapse_lm.experiment.threads import threads_for
from collapse_lm.measures.base import KnowsBase
from collapse_lm.observers.base import Observer
from collapse_lm.observers.guard import built
from collapse_lm.rundir import checkpoints
from collapse_lm.rundir.checkpoints import Checkpoint
from collapse_lm.rundir.ended import draw_pages, ended, export_of, lacks_model, lacks_pages
from collapse_lm.rundir.layout import CONFIG, MANIFEST, PAGE, REPORT, RunDirectory, make_directory
from collapse_lm.rundir.lock import only_writer
from collapse_lm.rundir.manifest import check_same_inputs, describe, phases_of
from collapse_lm.rundir.process import Process, RunResult, enough_memory
from collapse_lm.rundir.reader import RunReader
from collapse_lm.rundir.recorder import Recorder, empty
from collapse_lm.rundir.resume import Resumable, damage, read_run
from collapse_lm.rundir.rows import FORMAT_VERSION
from collapse_lm.rundir.same_prompts import check_same_prompts
from collapse_lm.rundir.summary import Summing, sum_up

_LOG = logging.getLogger(__name__)


def run(
    config: Config | Mapping[str, Any] | str | Path,
    out: Path | str | None = None,
    *,
    overrides: Overrides = (),
    source: Any = None,
    objective: Any = None,
    optimizer: Any = None,
    measures: Sequence[Any] = (),
    observers: Sequence[Any] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Do one run and leave its record on disk.

    Parts may be handed over as objects, classes or functions (docs/extending.md); the record
    names them.

    Args:
        config: a configuration, the name of a preset, the path of a YAML file, or what such
            a file holds: {"extends": "quickstart", "model": "gpt2"}.
        out: the run directory; by default runs/NAME-seedN-TIME below the current folder. One
            whose run failed before its first update is begun anew.
        overrides: `key=value` strings, or values by dotted key: {"run.max_updates": 5}.
        source: in place of the configuration's.
        objective: likewise.
        optimizer: likewise.
        measures: one, or several, beside those of the configuration.
        observers: likewise; they see each record once it is on disk, and one that raises is
            told and switched off.
        should_stop: asked after every update; true ends the run as interrupted.

    Raises:
        UserError: for bad input, before anything was created; for what a part returns that
            is none of its interface, as soon as it does.
        MachineError: when disk or memory fail; what was recorded stays, and `resume`
            goes on.
    """
    handed = Handed(source, objective, optimizer, measures)
    name, settings, loose = _settled(config, overrides, handed)
    watching = [*loose, *several(observers)]
    return begin(settings, out, name=name, observers=watching, should_stop=should_stop)


def begin(
    settings: Config,
    out: Path | str | None,
    *,
    name: str = "run",
    ready: ReadyModel | None = None,
    observers: Sequence[Any] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Do the run of a whole configuration; arguments and errors are those of `run`.

    Args:
        settings: with all parts.
        out: the run directory, or None.
        name: in that of the run directory, where this gives none.
        ready: the model of the configuration, untrained, where it is loaded already.
        observers: of the run.
        should_stop: asked after every update.
    """
    if out is not None:
        RunDirectory.check_free(Path(out))
    observing = built(several(observers))
    with enough_memory():
        parts = prepare(settings, ready=ready)
    with threads_for(settings.run.threads, parts):
        manifest = describe(settings, parts)
        path = make_directory(name, settings.seed) if out is None else _made(Path(out))
        return _begin(path, settings, parts, manifest, observing, should_stop)


def _begin(
    path: Path,
    settings: Config,
    parts: Parts,
    manifest: dict[str, Any],
    observing: Sequence[Observer],
    should_stop: Callable[[], bool],
) -> RunResult:
    with only_writer(path):
        directory = RunDirectory.create(path, to_yaml(settings), manifest)
        judging = Summing(settings.collapse)
        process = Process(directory, settings, parts, manifest, observing, should_stop, judging)
        return process.go(Recorder(path, empty()))


def _made(path: Path) -> Path:
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def _settled(
    config: Config | Mapping[str, Any] | str | Path, overrides: Overrides, handed: Handed
) -> tuple[str, Config, tuple[Any, ...]]:
    """The name of a new run, its configuration, and observers that no file can name."""
    if isinstance(config, Config):
        settled = hand_over(with_overrides(config, overrides), handed)
        return "run", settled, loose_observers(config)
    name = "run" if isinstance(config, Mapping) else Path(config).stem
    return name, hand_over(load_config(config, overrides), handed), ()


def resume(
    path: Path | str,
    *,
    overrides: Overrides = (),
    source: Any = None,
    objective: Any = None,
    optimizer: Any = None,
    measures: Sequence[Any] = (),
    observers: Sequence[Any] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Go on with a run from its newest intact checkpoint, bit for bit as if never interrupted.

    A run that is over is left as it is, but for its model where `run.export_model` is set
    now; without a checkpoint it begins again. Precision, device and threads stay; parts that
    it was given as objects must be handed over again, with the same settings.

    Args:
        path: the run directory.
        overrides: as for `run`, of keys that decide no number (`run.max_updates` extends it).
        source: as for `run`, the one that the run began with.
        objective: likewise.
        optimizer: likewise.
        measures: likewise.
        observers: of this process.
        should_stop: asked after every update.

    Raises:
        UserError: for a directory that holds no run, is damaged, or is being written by
            another process; for another model or text than the run began with.
        MachineError: when disk or memory fail; what was recorded stays.
    """
    overrides = words_of(overrides)
    found = read_run(Path(path), overrides)
    if found.is_over and not lacks_model(found) and not lacks_pages(found):
        return ended(found)
    with damage(found.path / MANIFEST):
        phases = phases_of(found.manifest, found.config.device)
    with as_begun_in(found.manifest.get("folder")), _threads_of(found), only_writer(found.path):
        found = _again_if_changed(found, overrides)
        if found.is_over and not lacks_model(found):
            draw_pages(found)
            return ended(found)
        handed = Handed(source, objective, optimizer, measures)
        found = replace(found, config=hand_again(found.config, handed))
        observing = built(several(observers))
        with enough_memory():
            parts = prepare(found.config, phases)
        check_same_inputs(found, parts)
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
    if wanted is not None and found.config.run.threads not in ("auto", wanted):
        asked = found.config.run.threads
        _LOG.warning("run.threads=%s changes nothing: the run began with %s", asked, wanted)
    if isinstance(wanted, int) and 0 < wanted != before:
        _LOG.info("with %d threads, as the run began (here: %d)", wanted, before)
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _continue(
    found: Resumable, parts: Parts, observers: Sequence[Observer], should_stop: Callable[[], bool]
) -> RunResult:
    if found.is_over:
        return export_of(found, parts)
    if found.manifest["status"] == "running":
        _LOG.info("process %s ended without a word; taking over", found.manifest.get("process"))
    directory, checkpoint = RunDirectory(found.path), _checkpoint(found)
    with damage(found.path):
        snapshot = found.snapshot.cut(checkpoint.rows if checkpoint else None)
        check_same_prompts(snapshot.samples or found.snapshot.samples, parts.context)
        for row in snapshot.samples:
            parts.experiment.source.replay(row.texts)
            parts.experiment.probe.replay(row.probe)
        if checkpoint is not None:
            for measure in parts.experiment.measures:
                if isinstance(measure, KnowsBase):
                    measure.see_base(parts.state.models.evaluator)  # θ_0 as yet
            checkpoints.restore(checkpoint, parts.state)
        summing = sum_up(snapshot.rows, found.config.collapse, snapshot.samples)
        directory.clean()
        directory.cut(snapshot.content)  # only now: nothing can fail any more that rows depend on
        for page in (PAGE, REPORT):  # made last: without them, pictures are old
            (found.path / page).unlink(missing_ok=True)
    manifest = {**found.manifest, "status": "running", "process": os.getpid()}
    manifest["format_version"], manifest["identity_version"] = FORMAT_VERSION, IDENTITY_VERSION
    manifest["config_sha256"] = identity(found.config)
    manifest["resumed_after"] = [*manifest.get("resumed_after", ()), parts.state.update]
    directory.write_json(MANIFEST, manifest)  # first: it fits the former configuration too
    write_atomically(found.path / CONFIG, to_yaml(found.config))
    session = Process(directory, found.config, parts, manifest, observers, should_stop, summing)
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
