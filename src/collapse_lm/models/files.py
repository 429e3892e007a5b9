"""Find the files of a model in a local folder or in the hub's cache, or fetch them."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_lm._util.files import is_inside, read_regular, require_regular
from collapse_lm._util.hub import require_hub
from collapse_lm._util.paths import located, looked_for
from collapse_lm.errors import MachineError, UserError

_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]
_READ = {".json", ".jsonl", ".safetensors", ".txt", ".model", ".jinja", ".tiktoken", ".gguf", ".py"}
_INDEX, _TOKENIZER = "model.safetensors.index.json", "tokenizer_config.json"
_FIX = "`collapse-lm models` lists what is ready on this machine; a local folder works too"


@dataclass(frozen=True)
class LocalModel:
    """A folder in the hub's layout, and what to call the place it came from."""

    folder: Path
    location: str
    revision: str | None


def is_local(reference: str) -> bool:
    """True for a reference to a folder, which may not be there, and no name on the hub."""
    is_folder = os.path.isdir(located(reference))  # noqa: PTH112 (raises for no name)
    return is_folder or reference.startswith((".", "/", "~"))


def find_local_model(reference: str) -> LocalModel:
    """Check that a folder holds a configuration and safetensors, which can be read."""
    where = f"model {reference}"
    try:
        return _checked(where, reference, located(reference))
    except OSError as error:
        raise UserError.single(
            where,
            f"{error.filename}: {error.strerror}",
            "a folder whose files can be read",
            "get the permission to read it, or copy it where you have it",
        ) from None


def _checked(where: str, reference: str, folder: Path) -> LocalModel:
    if not _is_folder(folder):
        expected = f"a folder in the hub's layout; looked for {looked_for(reference)}"
        raise UserError.single(where, "no such folder", expected, _FIX)
    _require_no_run(where, reference, folder)
    if not (folder / "config.json").is_file():
        raise UserError.single(where, "a folder without config.json", "the hub's layout", _FIX)
    names = sorted(item.name for item in folder.iterdir())
    if not any(name.endswith(".safetensors") for name in names):
        others = [name for name in names if name.endswith((".bin", ".pt"))]
        raise UserError.single(
            where,
            f"a folder without safetensors{' (only ' + ', '.join(others) + ')' if others else ''}",
            "weights in *.safetensors; pickles can run code and are never loaded",
            "load it where you trust it and save it again with model.save_pretrained",
        )
    _require_own_files(where, folder)
    return LocalModel(folder, str(folder.resolve()), None)


def _require_no_run(where: str, reference: str, folder: Path) -> None:
    """Refuse a run directory, and say where its model is or how it gets there."""
    if (folder / "config.json").exists() or not (folder / "updates.jsonl").exists():
        return
    own = f"{reference.rstrip(os.sep)}/model"
    export = f"`collapse-lm resume {reference} --set run.export_model=true` leaves it in {own}"
    raise UserError.single(
        where,
        "a run directory",
        "a model in the hub's layout",
        own if (folder / "model").is_dir() else f"{export}, where its last checkpoint is kept",
    )


def _is_folder(path: Path) -> bool:
    """True for a folder; a place that may not be looked at raises PermissionError."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except PermissionError:
        raise
    except (OSError, ValueError):  # not there, a name too long, or with a NUL
        return False


def _require_own_files(where: str, folder: Path) -> None:
    """Refuse a folder that would make a loader read anything but regular files inside of it."""
    own = [folder]
    if folder.parent.name == "snapshots":  # of the hub's cache, where snapshots link to blobs
        own.append(Path(os.path.realpath(folder)).parents[1] / "blobs")
    _require_no_detour(where, folder)
    for path in _files_to_read(where, folder):
        if not is_inside(path, *own):
            raise UserError.single(
                where,
                f"{path}, which leads out of the folder",
                "files that lie in the folder",
                "copy the file into the folder where you trust it",
            )
        try:
            require_regular(path)
        except OSError as error:
            raise UserError.single(
                where, f"{path}: {error.strerror}", "a regular file", _FIX
            ) from None
        path.open("rb").close()  # which raises where it may not be read


def _require_no_detour(where: str, folder: Path) -> None:
    """Refuse what would make transformers read weights other than the folder's safetensors."""
    if "transformers_weights" in _json(where, folder / "config.json"):
        raise UserError.single(
            where,
            "a config.json that names a file of weights (transformers_weights)",
            "weights in model.safetensors",
            "save it again with model.save_pretrained",
        )
    if (folder / "adapter_config.json").exists():
        raise UserError.single(
            where,
            "an adapter (adapter_config.json)",
            "a whole model",
            "model.merge_and_unload().save_pretrained(FOLDER), with peft",
        )


def _files_to_read(where: str, folder: Path) -> Iterator[Path]:
    """What transformers may read of a folder, and what its files name as weights or tokenizer."""
    for path in folder.iterdir():
        if path.suffix in _READ:
            yield path
    yield from (folder / "additional_chat_templates").glob("*.jinja")
    if (folder / _INDEX).is_file():
        named = _json(where, folder / _INDEX).get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(n, str) for n in named.values()):
            raise UserError.single(where, f"{_INDEX} without a weight_map", "names by tensor", _FIX)
        yield from (folder / name for name in sorted(set(named.values())))
    if (folder / _TOKENIZER).is_file():
        named = _json(where, folder / _TOKENIZER).get("fast_tokenizer_files")
        yield from (folder / str(name) for name in named or () if isinstance(named, list))


def _json(where: str, path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    try:
        found = json.loads(read_regular(path))
    except OSError as error:
        got = str(error.strerror)
    except (ValueError, RecursionError) as error:
        got = str(error)
    else:
        if isinstance(found, dict):
            return found
        got = f"a JSON {type(found).__name__}"
    raise UserError.single(where, f"{path.name}: {got}", "a JSON object", _FIX)


def find_hub_model(name: str) -> LocalModel:
    """Take a hub model from the local cache, or download its safetensors."""
    folder = _find_cached(name) or _download(name, _ask_hub(name))
    found = find_local_model(str(folder))
    return LocalModel(found.folder, f"hub {name}", folder.name)


def require_hub_model(name: str) -> None:
    """See that a hub model is in the local cache or on the hub; download nothing.

    Raises:
        UserError: where it is in neither, or the hub does not answer.
    """
    if _find_cached(name) is None:
        _ask_hub(name)


def _find_cached(name: str) -> Path | None:
    """The snapshot of a hub model in the local cache, where it is whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=_PATTERNS, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        raise UserError.single(
            f"model {name}",
            f"the hub's cache: {error}",
            "a cache that can be used",
            "name another folder in HF_HOME",
        ) from None
    return folder if _is_complete(folder) else None


def _ask_hub(name: str) -> str:
    fix = f"{_FIX} (no folder {looked_for(name)})"
    return require_hub(f"model {name}", name, kind="model", fix=fix)


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_PATTERNS))
    except GatedRepoError:
        raise UserError.single(
            f"model {name}", "a gated repository", "access to it", "ask for it, then hf auth login"
        ) from None
    except Exception as error:  # the network's and the library's own trees of errors
        raise MachineError(f"model {name} could not be downloaded: {error}") from error


def _is_complete(folder: Path) -> bool:
    """True when a snapshot has a tokenizer and all of its weights."""
    wanted = {"config.json"}
    if (folder / _INDEX).is_file():
        index = _json(f"model {folder}", folder / _INDEX)
        wanted |= set(index["weight_map"].values())
    has_weights = any(folder.glob("*.safetensors"))
    has_tokenizer = any(folder.glob("tokenizer*")) or any(folder.glob("vocab*"))
    return has_weights and has_tokenizer and all((folder / item).is_file() for item in wanted)
