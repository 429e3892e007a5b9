"""Find the files of a model in a local folder or in the hub's cache, or fetch them."""

import json
from dataclasses import dataclass
from pathlib import Path

from collapse_lm.data.corpus import expanded
from collapse_lm.errors import MachineError, UserError
from collapse_lm.hub_access import require_hub

_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]
_FIX = "`collapse-lm models` lists what is ready on this machine; a local folder works too"


@dataclass(frozen=True)
class LocalModel:
    """A folder in the hub's layout, and what to call the place it came from."""

    folder: Path
    location: str
    revision: str | None


def find_local_model(reference: str) -> LocalModel:
    """Check that a folder holds a configuration and safetensors."""
    folder = expanded(reference)
    where = f"model {reference}"
    if not folder.is_dir():
        raise UserError.single(where, "no such folder", "a folder in the hub's layout", _FIX)
    if not (folder / "config.json").is_file():
        raise UserError.single(where, "a folder without config.json", "the hub's layout", _FIX)
    if not any(folder.glob("*.safetensors")):
        others = sorted(item.name for item in folder.iterdir() if item.suffix in {".bin", ".pt"})
        raise UserError.single(
            where,
            f"a folder without safetensors{' (only ' + ', '.join(others) + ')' if others else ''}",
            "weights in *.safetensors; pickles can run code and are never loaded",
            "load it where you trust it and save it again with model.save_pretrained",
        )
    return LocalModel(folder, str(folder.resolve()), None)


def find_hub_model(name: str) -> LocalModel:
    """Take a hub model from the local cache, or download its safetensors."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=_PATTERNS, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        folder = None
    if folder is None or not _is_complete(folder):
        folder = _download(name, require_hub(f"model {name}", name, kind="model", fix=_FIX))
    found = find_local_model(str(folder))
    return LocalModel(found.folder, f"hub {name}", folder.name)


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
    index = folder / "model.safetensors.index.json"
    wanted = {"config.json"}
    if index.is_file():
        wanted |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    has_weights = any(folder.glob("*.safetensors"))
    has_tokenizer = any(folder.glob("tokenizer*")) or any(folder.glob("vocab*"))
    return has_weights and has_tokenizer and all((folder / item).is_file() for item in wanted)
