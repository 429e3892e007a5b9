"""What makes two configurations the same run: their values by dotted key, and a hash of them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from collapse_lm.config.schema import Config

LENGTH = "run.max_updates"  # the one key that may change over a run


def flat(config: Config) -> dict[str, Any]:
    """Return the values of a configuration by dotted key."""
    found: dict[str, Any] = {}

    def visit(tree: Mapping[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, Mapping):
                visit(value, f"{prefix}{key}.")
            else:
                found[prefix + key] = value

    visit(config.model_dump(mode="json"), "")
    return found


def identity(config: Config) -> str:
    """Return a SHA-256 over all of a configuration but the length of the run."""
    values = {key: value for key, value in flat(config).items() if key != LENGTH}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
