"""What a model's folder holds beside its weights that decides numbers, hashed by name.

A run goes on only with the same: an epsilon in config.json or a rule of the tokenizer
changes every loss as weights do. Knows nothing of what the values mean.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CONFIGURATION = "config.json"
_TOKENIZER = ("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges")
_PIECES = {".model", ".tiktoken"}  # of tokenizers, under names of many kinds
_IDLE = {  # keys that decide no number here: who wrote the file, and what formats a chat
    *("transformers_version", "_name_or_path", "name_or_path", "architectures"),
    *("dtype", "torch_dtype", "chat_template"),
}


def hash_inputs(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the configuration and of each file of the tokenizer, by name.

    Two files are taken as JSON: spaces, the order of keys and keys that decide no number
    do not count.
    """
    files = {item.name: item for item in sorted(folder.iterdir()) if _counts(item)}
    return {name: _sha256(path) for name, path in files.items()}


def _counts(path: Path) -> bool:
    is_named = path.name == _CONFIGURATION or path.name.startswith(_TOKENIZER)
    return (is_named or path.suffix in _PIECES) and path.is_file()


def _sha256(path: Path) -> str:
    content = path.read_bytes()
    if path.name in {_CONFIGURATION, "tokenizer_config.json"}:
        content = _canonical(json.loads(content)).encode()
    return hashlib.sha256(content).hexdigest()


def _canonical(values: Any) -> str:
    if isinstance(values, Mapping):
        values = {key: value for key, value in values.items() if key not in _IDLE}
    return json.dumps(values, sort_keys=True)
