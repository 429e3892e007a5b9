"""Checkpoints: all that survives an update, on disk, whole or not at all.

    checkpoints/u000050/  model.safetensors  optimizer.safetensors  state.json

A checkpoint is written in a hidden folder beside its place and renamed there once
every file has reached the disk. state.json, written last, holds the hash of the
others and how long the rows were, so that damage to any of them is seen. Tensors and
JSON only: nothing in a checkpoint can run code. Knows nothing of configurations.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from collapse_lm._util.files import require_regular, sync_folder, write_atomically, writing
from collapse_lm.loop import RunState
from collapse_lm.rundir.layout import ROW_FILES, Lengths, RunDirectory

FOLDER = "checkpoints"
Every = int | Literal["auto", "off"]
_STATE, _MODEL, _OPTIMIZER = "state.json", "model.safetensors", "optimizer.safetensors"
_FORMAT = 1
_NAME = re.compile(r"u\d{6,9}")
_SHARE = 0.04  # of a run's time, which `auto` spends on checkpoints at most
_FIRST_GUESS = 200e6  # bytes/s expected of the disk before the first checkpoint


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose hashes hold, and the length of the rows that it goes with."""

    path: Path
    update: int
    lengths: Lengths


@dataclass(frozen=True)
class Damage:
    """A checkpoint that cannot be used, and why."""

    path: Path
    why: str


# --- what is saved: buffers never change, as the model stays in evaluation mode --------------


def model_tensors(state: RunState) -> dict[str, Tensor]:
    """The parameters by name, a tied one once."""
    return {name: value.detach() for name, value in state.network.named_parameters()}


def optimizer_tensors(state: RunState) -> dict[str, Tensor]:
    """What the optimizer remembers of each parameter, named PARAMETER/FIELD."""
    memory = state.optimizer.state
    return {
        f"{name}/{field}": value
        for name, parameter in state.network.named_parameters()
        for field, value in memory.get(parameter, {}).items()
    }


def state_bytes(state: RunState) -> int:
    """Bytes of a checkpoint: float32 parameters and AdamW's two moments."""
    return 3 * sum(value.nbytes for value in model_tensors(state).values())


# --- writing ---------------------------------------------------------------------------------


def save(directory: RunDirectory, state: RunState) -> Path:
    """Write the checkpoint of a state whose rows are in the directory.

    Raises:
        MachineError: when the disk fails; earlier checkpoints stay.
    """
    folder = directory.path / FOLDER
    place = folder / f"u{state.update:06}"
    workplace = folder / f".{place.name}"
    with writing(place, SafetensorError):
        lengths = directory.flush()
        shutil.rmtree(workplace, ignore_errors=True)
        workplace.mkdir(parents=True)
        try:
            _save_tensors(model_tensors(state), workplace / _MODEL)
            _save_tensors(optimizer_tensors(state), workplace / _OPTIMIZER)
            hashes = {name: _file_sha256(workplace / name) for name in (_MODEL, _OPTIMIZER)}
            facts = {"update": state.update, "rows": lengths, "files": hashes}
            _write_state(workplace / _STATE, {"format_version": _FORMAT, **facts})
            remove(place)  # there only if it was found damaged
            workplace.rename(place)
            sync_folder(folder)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
    return place


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_state(path: Path, facts: dict[str, Any]) -> None:
    """Write state.json with a hash of its own facts."""
    write_atomically(path, json.dumps({**facts, "sha256": _facts_sha256(facts)}) + "\n")


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint; it loses its name first, so that no half of it is left."""
    if checkpoint.exists():
        hidden = checkpoint.with_name(f".{checkpoint.name}-removed")
        shutil.rmtree(hidden, ignore_errors=True)
        checkpoint.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def prune(run: Path, keep: int) -> None:
    """Keep the newest checkpoints of a run and drop the others, and what a crash left."""
    folder = run / FOLDER
    if not folder.is_dir():
        return
    for leftover in folder.glob(".u*"):
        shutil.rmtree(leftover, ignore_errors=True)
    found = _places(run)
    for place in found[keep:]:
        remove(place)
    if not found[:keep] and not any(folder.iterdir()):
        folder.rmdir()


# --- reading ---------------------------------------------------------------------------------


def newest(run: Path) -> tuple[Checkpoint | None, list[Damage]]:
    """Return the newest checkpoint whose hashes hold, and the newer ones that are damaged."""
    damaged: list[Damage] = []
    for place in _places(run):
        try:
            return _checked(place), damaged
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            damaged.append(Damage(place, str(error) or type(error).__name__))
    return None, damaged


def _places(run: Path) -> list[Path]:
    """The checkpoints of a run by name, newest first."""
    folder = run / FOLDER
    if not folder.is_dir() or folder.is_symlink():
        return []
    named = [place for place in folder.iterdir() if _NAME.fullmatch(place.name)]
    return sorted(named, key=lambda place: int(place.name[1:]), reverse=True)


def _checked(place: Path) -> Checkpoint:
    """Check every hash of a checkpoint; ValueError says what is wrong."""
    for path in (place, *(place / name for name in (_STATE, _MODEL, _OPTIMIZER))):
        if path.is_symlink() or not path.exists():
            raise ValueError(f"{path.name} is {'a link' if path.is_symlink() else 'missing'}")
        if path != place:
            require_regular(path)
    facts = dict(json.loads((place / _STATE).read_text(encoding="utf-8")))
    if facts.pop("sha256", None) != _facts_sha256(facts) or facts["format_version"] != _FORMAT:
        raise ValueError(f"{_STATE} differs from its hash")
    for name in (_MODEL, _OPTIMIZER):
        if _file_sha256(place / name) != facts["files"][name]:
            raise ValueError(f"{name} differs from its hash")
    if facts["update"] != int(place.name[1:]):
        raise ValueError(f"it is the checkpoint of update {facts['update']}")
    rows = {name: facts["rows"][name] for name in ROW_FILES}
    changed = RunDirectory(place.parent.parent).changed(rows)
    if changed:
        raise ValueError(f"the rows before it were changed or cut ({', '.join(changed)})")
    return Checkpoint(place, int(place.name[1:]), rows)


def restore(checkpoint: Checkpoint, state: RunState) -> None:
    """Put a checkpoint into a fresh state of the same model.

    Raises:
        ValueError: when it is of another model; the state is then unchanged.
    """
    parameters = dict(state.network.named_parameters())
    with (
        _readable(),
        safe_open(checkpoint.path / _MODEL, "pt") as model,
        safe_open(checkpoint.path / _OPTIMIZER, "pt") as memory,
    ):
        names, keys = model.keys(), memory.keys()
        shapes = {name: tuple(model.get_slice(name).get_shape()) for name in names}
        if shapes != {name: tuple(value.shape) for name, value in parameters.items()}:
            raise ValueError("its parameters are not those of the model")
        for key in keys:
            name, _, field = key.rpartition("/")
            if tuple(memory.get_slice(key).get_shape()) not in {(), shapes.get(name)}:
                raise ValueError("its moments are not those of the model")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(model.get_tensor(name))
        state.optimizer.state.clear()
        for key in keys:
            name, _, field = key.rpartition("/")
            parameter = parameters[name]
            value = memory.get_tensor(key).to(parameter.device)
            state.optimizer.state[parameter][field] = value
    state.working.refresh()
    state.update = checkpoint.update


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"it cannot be read: {error}") from error


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts_sha256(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# --- when ------------------------------------------------------------------------------------


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
        directory: of the run.
        state: what is saved.
        every: updates between checkpoints, or auto, or off.
        kept: checkpoints to keep; 0 keeps one, and none once the run has ended.
    """

    def __init__(self, directory: RunDirectory, state: RunState, every: Every, kept: int) -> None:
        self._directory, self._state, self._kept = directory, state, kept
        self._is_off, self._is_auto = every == "off", every == "auto"
        self._schedule = Schedule(every, state_bytes(state))
        self._saved = state.update  # a run that begins or resumes here loses nothing before it

    def after_update(self, *, is_last: bool) -> None:
        """Save where a checkpoint is due, or where the process is about to end."""
        if is_last or self._schedule.is_due(self._state.update):
            self._save()

    def after_run(self, *, can_go_on: bool) -> None:
        """Leave the last checkpoint of a run that can be extended, and none of any other.

        Under `auto` the end gets one only where one is due: what a run was too short to
        save is soon done again.
        """
        is_wanted = can_go_on and self._kept > 0
        if is_wanted and (not self._is_auto or self._schedule.is_due(self._state.update)):
            self._save()
        prune(self._directory.path, 1 if is_wanted else 0)

    def _save(self) -> None:
        if self._is_off or self._state.update == self._saved:
            return
        begin = time.perf_counter()
        save(self._directory, self._state)
        prune(self._directory.path, max(1, self._kept))
        self._saved = self._state.update
        self._schedule.took(time.perf_counter() - begin)
