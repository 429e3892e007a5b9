"""The columns of exported tables: names, types, units, meanings. Pure.

Types: string, integer (64 bits), number (float64), boolean, integers and numbers (a list of
them, one per token), json (any other value, as JSON text).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from collapse_lm.measures.names import described

SCHEMA = "collapse-lm/1"
Type = Literal["string", "integer", "number", "boolean", "integers", "numbers", "json"]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: as in `collapse_lm.tables`; names of numbers are those of docs/run-format.md.
        type: see the module.
        unit: of the numbers; empty where there is none.
        meaning: in a few words; empty for a key of the configuration.
    """

    name: str
    type: Type
    unit: str = ""
    meaning: str = ""


RUN = Column("run", "string", "", "path of the run directory below the folder that was exported")
_ROLE = "trained on, or probe: drawn apart, to be judged"
_ALONE = "log p of each id under the model that drew it, at temperature 1 and unfiltered"
SAMPLES: tuple[Column, ...] = (
    RUN,
    Column("update", "integer", "", "counted from 1"),
    Column("role", "string", "", _ROLE),
    Column("number", "integer", "", "of the text in its update and role, from 0"),
    Column("origin", "string", "", "where it comes from: own, base, corpus:NAME, ..."),
    Column("prompt", "string", "", "text before it; empty where that is a start token alone"),
    Column("text", "string", "", "the ids decoded"),
    Column("tokens", "integer", "tokens", "number of its ids"),
    Column("ids", "integers", "", "token ids"),
    Column("ends", "integers", "", "where the text of each token ends, in code points"),
    Column("log_probs", "numbers", "nats", _ALONE),
    Column("entropies", "numbers", "nats", "predictive entropy at each id, likewise"),
    Column("base_log_probs", "numbers", "nats", "log p of each id under the base model"),
)
_ENDING: tuple[Column, ...] = (
    RUN,
    Column("status", "string", "", "running, finished, diverged, interrupted or failed"),
    Column("collapsed", "boolean", "", "the collapse rule was met"),
    Column("collapse_update", "integer", "", "first update of the collapse"),
    Column("collapse_after", "integer", "", "the last probe before it; the onset lies between"),
    Column("degenerate_before_training", "boolean", "", "it began with the base model's sample"),
    Column("updates", "integer", "", "the last update"),
    Column("reason", "string", "", "how the run ended, in words"),
)


def run_columns(rows: Sequence[Values]) -> tuple[Column, ...]:
    """Columns of the table of runs: how they ended, validation losses, keys of configurations."""
    known = {column.name for column in _ENDING}
    names = dict.fromkeys(name for row in rows for name in row if name not in known)
    return (*_ENDING, *(_run_column(name, [row.get(name) for row in rows]) for name in names))


def _run_column(name: str, values: Sequence[Any]) -> Column:
    if name.startswith("validation_"):
        return Column(name, "number", "nats/token", "validation loss in the summary")
    return Column(name, type_of(values))


def type_of(values: Iterable[Any]) -> Type:
    """The narrowest type that holds values; null is of every type."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} and kinds:
        return "boolean"
    if kinds <= {int} and kinds:
        return "integer"
    if kinds <= {int, float} and kinds:
        return "number"
    return "string" if kinds <= {str} else "json"


def update_columns(names: Mapping[str, bool]) -> tuple[Column, ...]:
    """Columns of the table of updates.

    Args:
        names: of the numbers, in order -> True where all of them are whole.
    """
    update = Column("update", "integer", "", "0 is the base model")
    return (RUN, update, *(_number(name, is_whole) for name, is_whole in names.items()))


def _number(name: str, is_whole: bool) -> Column:
    known = described(name)
    if known is None:
        return Column(name, "number")
    is_count = known.kind in ("count", "flag") and is_whole
    return Column(name, "integer" if is_count else "number", known.unit, known.meaning)


def as_typed(value: Any, column: Column) -> Any:
    """A value as its column's type has it."""
    if value is None or column.type in ("string", "boolean", "integers", "numbers"):
        return value
    if column.type == "json":
        return json.dumps(value, ensure_ascii=False)
    return float(value) if column.type == "number" else int(value)
