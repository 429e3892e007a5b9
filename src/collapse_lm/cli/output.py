"""What a command prints: a table for people, or JSON for programs."""

import json
import math
from typing import Annotated

import typer

from collapse_lm.cli import tables

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def show(rows: object, as_json: bool, table: "tables.Lazy") -> None:
    """Print rows as JSON, or the table of them."""
    if as_json:
        print(json.dumps(_finite(rows), indent=2, allow_nan=False))
    else:
        tables.show(table())


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity; null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
