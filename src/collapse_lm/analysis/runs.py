"""One row per run directory: what it was and how it ended."""

import math
from pathlib import Path
from typing import Any

import yaml

from collapse_lm.records import RunReader, find_runs, has_writer

# What reading a record that was cut, mutated or made up makes Python raise.
DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    yaml.YAMLError,
)


def run_table(folder: Path) -> list[dict[str, Any]]:
    """Describe every run in a folder, in path order; a damaged one by what is wrong with it."""
    return [_describe_or_tell(folder, reader) for reader in find_runs(folder)]


def _describe_or_tell(folder: Path, reader: RunReader) -> dict[str, Any]:
    try:
        return _describe(folder, reader)
    except DAMAGE as error:
        unknown = ("model", "learning_rate", "seed", "updates", "collapse_update")
        return {
            "run": str(reader.path.relative_to(folder)),
            **dict.fromkeys(unknown),
            "status": f"damaged: {type(error).__name__}: {error}",
            "validation": {},
        }


def _describe(folder: Path, reader: RunReader) -> dict[str, Any]:
    manifest, summary = reader.manifest(), reader.summary()
    config = yaml.safe_load((reader.path / "config.yaml").read_text(encoding="utf-8"))
    rows = reader.updates()
    evaluated = [row["validation"] for row in rows if row["validation"]]
    validation = {
        name: (_loss(evaluated[0][name]), _loss(evaluated[-1][name]))
        for name in (evaluated[0] if evaluated else {})
    }
    return {
        "run": str(reader.path.relative_to(folder)),
        "model": manifest["model"]["reference"],
        "learning_rate": config["training"]["learning_rate"],
        "seed": manifest["seed"],
        "status": _status(reader, str(manifest["status"])),
        "updates": rows[-1]["update"] if rows else None,
        "collapse_update": summary["collapse_update"] if summary else None,
        "validation": validation,
    }


def _status(reader: RunReader, written: str) -> str:
    """The status in the manifest; a run whose process is gone is not running."""
    return "killed" if written == "running" and not has_writer(reader.path) else written


def _loss(fields: dict[str, float | None]) -> float:
    loss = fields["loss"]
    return math.nan if loss is None else loss
