"""A model's folder: the hub's layout, the loss curve, and where it came from.

    config.json  generation_config.json  model.safetensors
    tokenizer.json  tokenizer_config.json
    loss.jsonl  provenance.json

The folder appears complete or not at all.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collapse_lm._util.files import open_to_umask, writing
from collapse_lm.errors import Problem

PROVENANCE = "provenance.json"
LOSSES = "loss.jsonl"


def find_conflict(folder: Path, fingerprint: str) -> Problem | None:
    """Say why a place cannot hold a model of this recipe; None where it is free or has it."""
    if not os.path.lexists(folder) or read_fingerprint(folder) == fingerprint:
        return None
    is_model = read_fingerprint(folder) is not None
    return Problem(
        f"--out, {folder}",
        "a model of another recipe" if is_model else "something that is no model of a ladder",
        "a free place, or a model of the same recipe (which is then kept)",
        "choose another --out, or delete that folder",
    )


def read_fingerprint(folder: Path) -> str | None:
    """The recipe's fingerprint in a model's provenance, None where there is none."""
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        return str(provenance["recipe_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_provenance(folder: Path) -> dict[str, Any]:
    """Read what a finished model says of itself."""
    return dict(json.loads((folder / PROVENANCE).read_text(encoding="utf-8")))


def save_model(
    folder: Path,
    network: Any,
    tokenizer: Any,
    losses: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> None:
    """Write a model's folder, which must not exist, with the provenance last.

    Raises:
        MachineError: where the disk does not take it.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    with writing(folder), _appearing(folder) as hidden:
        network.save_pretrained(hidden)
        tokenizer.save_pretrained(hidden)
        lines = "".join(json.dumps(row) + "\n" for row in losses)
        (hidden / LOSSES).write_text(lines, encoding="utf-8")
        text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
        (hidden / PROVENANCE).write_text(text, encoding="utf-8")
        open_to_umask(hidden)


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder beside the given one that takes its name once the block has ended well."""
    hidden = folder.parent / f".{folder.name}-{os.getpid()}"
    shutil.rmtree(hidden, ignore_errors=True)  # of a killed process that had this number
    try:
        hidden.mkdir(parents=True)
        yield hidden
        hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
