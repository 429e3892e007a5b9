"""Checkpoints: all that survives an update, on disk, whole or not at all.

    checkpoints/u000050/  state.json  model.safetensors  optimizer.safetensors  ...

A file of tensors for each thing that is `Stateful` (the model, the optimizer, and what
else an experiment has); its values that are no tensors stand in state.json. A checkpoint
is written in a hidden folder beside its place and renamed there once every file has
reached the disk. state.json, written last, holds the hash of the others and how long the
rows were, so that damage to any of them is seen. Tensors and JSON only: nothing in a
checkpoint can run code. Knows nothing of configurations.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from collapse_lm._util.files import (
    open_to_umask,
    require_regular,
    sync_folder,
    write_atomically,
    writing,
)
from collapse_lm.experiment.models import Stateful
from collapse_lm.loop import RunState
from collapse_lm.rundir.layout import ROW_FILES
from collapse_lm.rundir.reader import Snapshot
from collapse_lm.rundir.recorder import Recorder

FOLDER = "checkpoints"
_STATE, _TENSORS = "state.json", ".safetensors"
_FORMATS = (1, 2)
_NAME = re.compile(r"u\d{6,9}")
_PART = re.compile(r"[a-z_]+\d*")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose hashes hold.

    Attributes:
        path: its folder.
        update: that it was written after.
        rows: how long the files of rows were, with hashes.
        parts: names of what has tensors in it.
        values: by part, what is no tensor.
    """

    path: Path
    update: int
    rows: Mapping[str, Any]
    parts: tuple[str, ...]
    values: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Damage:
    """A checkpoint that cannot be used, and why."""

    path: Path
    why: str


def stateful(state: RunState) -> dict[str, Stateful]:
    """All that a checkpoint holds, by name."""
    return {"model": state.models, **state.survivors}


def state_bytes(state: RunState) -> int:
    """About the bytes of a checkpoint: the parameters, two moments of each (AdamW's), the rest."""
    held = (part.state() for name, part in state.survivors.items() if name != "optimizer")
    return 3 * _bytes(state.models.state()) + sum(map(_bytes, held))


def _bytes(state: Mapping[str, Any]) -> int:
    return sum(int(value.nbytes) for value in state.values() if isinstance(value, Tensor))


# --- writing ---------------------------------------------------------------------------------


def save(recorder: Recorder, state: RunState) -> Path:
    """Write the checkpoint of a state whose rows the recorder has.

    Raises:
        MachineError: when the disk fails; earlier checkpoints stay.
    """
    folder = recorder.path / FOLDER
    place = folder / f"u{state.update:06}"
    workplace = folder / f".{place.name}"
    with writing(place, SafetensorError):
        rows = recorder.flush()
        shutil.rmtree(workplace, ignore_errors=True)
        workplace.mkdir(parents=True)
        try:
            hashes, values = {}, {}
            for name, part in stateful(state).items():
                tensors, rest = _sorted(part.state())
                file = f"{name}{_TENSORS}"
                _save_tensors(tensors, workplace / file)
                hashes[file] = _file_sha256(workplace / file)
                if rest:
                    values[name] = rest
            facts = {"update": state.update, "rows": rows, "files": hashes, "values": values}
            _write_state(workplace / _STATE, {"format_version": _FORMATS[-1], **facts})
            open_to_umask(workplace)
            remove(place)  # there only if it was found damaged
            workplace.rename(place)
            sync_folder(folder)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
    return place


def _sorted(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a state, and its other values."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


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


def newest(run: Path, snapshot: Snapshot) -> tuple[Checkpoint | None, list[Damage]]:
    """Return the newest checkpoint whose hashes hold, and the newer ones that are damaged.

    Args:
        run: the run directory.
        snapshot: its rows, as they were read.
    """
    damaged: list[Damage] = []
    for place in _places(run):
        try:
            return _checked(place, snapshot), damaged
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


def _checked(place: Path, snapshot: Snapshot) -> Checkpoint:
    """Check every hash of a checkpoint; ValueError says what is wrong."""
    _require_file(place)
    _require_file(place / _STATE)
    facts = dict(json.loads((place / _STATE).read_text(encoding="utf-8")))
    if facts.pop("sha256", None) != _facts_sha256(facts) or facts["format_version"] not in _FORMATS:
        raise ValueError(f"{_STATE} differs from its hash")
    parts = [name.removesuffix(_TENSORS) for name in facts["files"]]
    if not all(_PART.fullmatch(part) for part in parts) or "model" not in parts:
        raise ValueError(f"{_STATE} names files that are none of a checkpoint")
    for name, sha256 in facts["files"].items():
        _require_file(place / name)
        if _file_sha256(place / name) != sha256:
            raise ValueError(f"{name} differs from its hash")
    if facts["update"] != int(place.name[1:]):
        raise ValueError(f"it is the checkpoint of update {facts['update']}")
    rows = {name: facts["rows"][name] for name in ROW_FILES}
    changed = snapshot.changed(rows)
    if changed:
        raise ValueError(f"the rows before it were changed or cut ({', '.join(changed)})")
    values = facts.get("values", {})
    return Checkpoint(place, int(place.name[1:]), rows, tuple(parts), values)


def _require_file(path: Path) -> None:
    if path.is_symlink() or not path.exists():
        raise ValueError(f"{path.name} is {'a link' if path.is_symlink() else 'missing'}")
    if not path.is_dir():
        require_regular(path)


def restore(checkpoint: Checkpoint, state: RunState) -> None:
    """Put a checkpoint into a fresh state of the same experiment.

    Raises:
        ValueError: when it is of another model, or lacks something that must survive; the
            rows are untouched then.
    """
    wanted = stateful(state)
    saved = {*checkpoint.parts, *checkpoint.values}
    if saved != set(wanted):
        raise ValueError(f"it holds {', '.join(sorted(saved))}, not {', '.join(sorted(wanted))}")
    for name, part in wanted.items():
        part.load({**_tensors(checkpoint, name), **checkpoint.values.get(name, {})})
    state.models.refresh()  # an average of weights, which may be what samples, came after the model
    state.update = checkpoint.update


def _tensors(checkpoint: Checkpoint, part: str) -> dict[str, Tensor]:
    with _readable(), safe_open(checkpoint.path / f"{part}{_TENSORS}", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)


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
