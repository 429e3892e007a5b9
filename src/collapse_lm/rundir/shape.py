"""The shape of what a run directory holds, checked where it is read.

A record may have been cut, mutated or made up; past this module its values have the
types that the readers count on. Knows what is read, not what it means; keys that
nobody reads are let through.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    model_validator,
)

from collapse_lm.errors import UserError
from collapse_lm.rundir.rows import Row

_Count = Annotated[int, Field(ge=0, lt=10**9)]
_Text = InstanceOf[str]  # a decoded sample may hold a lone surrogate, which `str` refuses


class RecordError(ValueError):
    """A file of a run directory that does not hold what it should; the message names it."""


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Loss(_Shape):
    loss: float | None


class _TextMetrics(_Shape):
    loop_share: float | None
    seq_rep_4: float | None


class UpdateShape(_Shape):
    """A line of updates.jsonl."""

    update: _Count
    train_loss: float | None
    grad_norm: float | None = None
    lr: float | None = None
    tokens: _Count = 0
    validation: dict[str, _Loss]
    text: _TextMetrics | None
    entropy: float | None
    seconds: dict[str, float] = {}
    forward_passes: _Count = 0
    applied: bool = True

    @model_validator(mode="after")
    def _has_text(self) -> Self:
        if self.update > 0 and self.text is None:
            raise ValueError("no text metrics")
        return self


class SampleShape(_Shape):
    """A line of samples.jsonl."""

    update: _Count
    ids: list[list[_Count]]
    text: list[_Text]


class _Moment(_Shape):
    __pydantic_extra__: dict[str, float | None]  # by corpus
    update: _Count


class SummaryShape(_Shape):
    """summary.json."""

    status: str
    collapsed: bool
    collapse_update: _Count | None
    reason: str
    updates: _Count
    validation: dict[str, _Moment | None]


class _Model(_Shape):
    reference: str
    sha256: str


class _Corpus(_Shape):
    name: str
    sha256: str


class ManifestShape(_Shape):
    """manifest.json."""

    format_version: Literal[1]
    status: Literal["running", "finished", "diverged", "interrupted", "failed"]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    config_sha256: str | None = None
    model: _Model
    corpora: list[_Corpus]
    precision: str
    seconds: Annotated[float, Field(ge=0)] = 0.0
    resumed_after: list[_Count] = []


def parse(name: str, text: str, shape: type[BaseModel]) -> Row:
    """Read JSON of a shape; return it as it is.

    Raises:
        RecordError: saying what is wrong, and where in the file that `name` names.
    """
    with naming(name):
        found = json.loads(text, parse_constant=_refuse)
        shape.model_validate(found)
        return dict(found)


def require_series(name: str, rows: list[Row], first: int) -> list[Row]:
    """Accept rows of the updates `first`, `first` + 1, and so on."""
    for number, row in enumerate(rows):
        if row["update"] != first + number:
            raise RecordError(
                f"{name}, line {number + 1}: update {row['update']} instead of {first + number}"
            )
    return rows


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Turn what malformed content makes Python raise into one error that names the file."""
    try:
        yield
    except ValidationError as error:
        raise RecordError(f"{name}: {_first(error)}") from None
    except UserError as error:
        raise RecordError(f"{name}: {error.problems[0].got}") from None
    except RecursionError:
        raise RecordError(f"{name}: values nested too deeply") from None
    except (ValueError, LookupError, TypeError) as error:
        raise RecordError(f"{name}: {error}") from None


def _first(error: ValidationError) -> str:
    details: Mapping[str, Any] = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, details['loc']))}: {details['msg']}"[:200]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which JSON does not have")
