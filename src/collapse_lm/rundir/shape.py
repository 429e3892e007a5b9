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

_Count = Annotated[int, Field(ge=0, lt=10**9)]
_MOST_THREADS = 4096  # a resume starts as many as the manifest says
_Text = InstanceOf[str]  # a decoded sample may hold a lone surrogate, which `str` refuses


class RecordError(ValueError):
    """A file of a run directory that does not hold what it should; the message names it."""


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class RowShape(_Shape):
    """A line of updates.jsonl: any dotted name, a number each."""

    __pydantic_extra__: dict[str, float | None]
    update: _Count
    nonfinite: dict[str, str] = {}


class _TextShape(_Shape):
    origin: str
    prompt: list[_Count]
    ids: list[_Count]
    text: _Text
    log_probs: list[float | None] = []
    prompt_text: _Text = ""
    ends: list[_Count] = []
    entropies: list[float | None] = []
    base_log_probs: list[float | None] = []
    per_token: dict[str, list[float | None]] = {}

    @model_validator(mode="after")
    def _one_per_token(self) -> Self:
        known = (self.log_probs, self.entropies, self.base_log_probs, *self.per_token.values())
        if any(len(values) not in (0, len(self.ids)) for values in known):
            raise ValueError("numbers per token that are not one for each id")
        return self


class SampleShape(_Shape):
    """A line of samples.jsonl."""

    update: _Count
    texts: list[_TextShape]
    probe: list[_TextShape] = []


class _Loss1(_Shape):
    __pydantic_extra__: dict[str, float | None]
    loss: float | None


class _TextMetrics1(_Shape):
    __pydantic_extra__: dict[str, float | None]
    loop_share: float | None
    seq_rep_4: float | None


class UpdateShape1(_Shape):
    """A line of updates.jsonl in format 1."""

    update: _Count
    train_loss: float | None
    grad_norm: float | None = None
    lr: float | None = None
    tokens: _Count = 0
    validation: dict[str, _Loss1]
    text: _TextMetrics1 | None
    entropy: float | None
    seconds: dict[str, float] = {}
    forward_passes: _Count = 0
    applied: bool = True

    @model_validator(mode="after")
    def _has_text(self) -> Self:
        if self.update > 0 and self.text is None:
            raise ValueError("no text metrics")
        return self


class SampleShape1(_Shape):
    """A line of samples.jsonl in format 1."""

    update: _Count
    prompt: list[_Count] = []
    ids: list[list[_Count]]
    text: list[_Text]


class _Moment(_Shape):
    __pydantic_extra__: dict[str, float | None]  # by corpus
    update: _Count


class _Stay(_Shape):
    entered: _Count | None
    left: _Count | None
    updates: _Count
    entries: _Count


class SummaryShape(_Shape):
    """summary.json."""

    status: str
    collapsed: bool
    collapse_update: _Count | None
    reason: str
    updates: _Count
    validation: dict[str, _Moment | None]
    endings: dict[str, _Stay] = {}


class _Model(_Shape):
    reference: str
    sha256: str


class _Corpus(_Shape):
    name: str
    sha256: str


_Format = Literal["float32", "bfloat16"]


class _Formats(_Shape):
    """Number formats by phase."""

    sampling: _Format
    training: _Format
    evaluation: _Format


class ManifestShape(_Shape):
    """manifest.json."""

    format_version: Literal[1, 2]
    status: Literal["running", "finished", "diverged", "interrupted", "failed"]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    config_sha256: str | None = None
    model: _Model
    corpora: list[_Corpus]
    precision: _Format | _Formats
    device_type: Literal["cpu", "cuda"] | None = None
    threads: Annotated[int, Field(ge=1, le=_MOST_THREADS)] | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    resumed_after: list[_Count] = []
    human: dict[str, float] = {}
    human_windows: _Count = 0
    made_by: str = ""
    states: dict[str, _Count] = {}


def parse(name: str, text: str, shape: type[BaseModel]) -> dict[str, Any]:
    """Read JSON of a shape; return it as it is.

    Raises:
        RecordError: saying what is wrong, and where in the file that `name` names.
    """
    return check(name, read_object(name, text), shape)


def read_object(name: str, text: str) -> dict[str, Any]:
    """Read a JSON object of whatever shape.

    Raises:
        RecordError: as `parse`.
    """
    with naming(name):
        found = json.loads(text, parse_constant=_refuse)
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found


def check(name: str, found: dict[str, Any], shape: type[BaseModel]) -> dict[str, Any]:
    """Return an object that has a shape.

    Raises:
        RecordError: as `parse`.
    """
    with naming(name):
        shape.model_validate(found)
    return found


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
