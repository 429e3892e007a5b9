"""What `collapse-lm models` lists: the models that are ready on this machine. No torch."""

from dataclasses import dataclass
from pathlib import Path

from collapse_lm.errors import UserError
from collapse_lm.models import packaged

HUB_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")


@dataclass(frozen=True)
class ModelInfo:
    """One model: its reference, where it is, bytes of safetensors on disk, how to get it."""

    reference: str
    location: str | None
    size: int | None
    needs: str | None


def list_models() -> list[ModelInfo]:
    """List the packaged model, the hub models in the local cache, and the paper's models."""
    cached = _hub_cache()
    rest = [
        ModelInfo(name, None, None, "a network at its first use (downloaded from the hub)")
        for name in HUB_NAMES
        if name not in {info.reference for info in cached}
    ]
    return [_packaged(), *cached, *rest]


def _packaged() -> ModelInfo:
    if packaged.is_converted():
        folder = packaged.converted_folder()
        return ModelInfo(packaged.NAME, str(folder), _weights_size(folder), None)
    source = packaged.packaged_file()
    if source is None:
        return ModelInfo(packaged.NAME, None, None, packaged.INSTALL)
    return ModelInfo(packaged.NAME, f"{source} (converted at its first use)", _size(source), None)


def _hub_cache() -> list[ModelInfo]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    except (OSError, RuntimeError) as error:  # closed to this user; no home and no HF_HOME
        told = getattr(error, "strerror", None) or error
        raise UserError.single(
            "cache of the hub", told, "a folder that can be read", "name one in HF_HOME"
        ) from None
    found = []
    for repository in sorted(repositories, key=lambda repo: repo.repo_id):
        sizes = {
            file.blob_path: file.size_on_disk
            for revision in repository.revisions
            for file in revision.files
            if file.file_name.endswith(".safetensors")
        }
        if repository.repo_type == "model" and sizes:
            location = str(repository.repo_path)
            found.append(ModelInfo(repository.repo_id, location, sum(sizes.values()), None))
    return found


def _weights_size(folder: Path) -> int:
    return sum(_size(path) for path in folder.glob("*.safetensors"))


def _size(path: Path) -> int:
    return path.stat().st_size
