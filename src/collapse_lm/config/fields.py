"""Types of fields, and the base class, of every section of the configuration."""

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from collapse_lm.errors import Problem, UserError

# Marks a key that decides no number of a run: it is no part of the run's identity and
# may change when the run is resumed.
OBSERVES: dict[str, Any] = {"decides_numbers": False}


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Told(ModelMetaclass):
    """Tells what is wrong with a section that is made in Python, as it is told of a file."""

    def __call__(self, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            problems = [_problem(self, details) for details in error.errors()]
        raise UserError(problems)


def _problem(section: Any, details: ErrorDetails) -> Problem:
    name = ".".join(map(str, details["loc"]))
    where = f"{section.__name__}.{name}" if name else section.__name__
    if details["type"] == "extra_forbidden":
        known = list(_section_at(section, details["loc"][:-1]).model_fields)
        close = difflib.get_close_matches(str(details["loc"][-1]), known, n=1)
        fix = f"did you mean {close[0]}?" if close else None
        return Problem(where, "an unknown argument", f"one of {', '.join(known)}", fix)
    expected = details["msg"].removeprefix("Input should be ")
    return Problem(where, f"{details['input']!r}"[:80], expected)


def _section_at(section: Any, path: Sequence[int | str]) -> Any:
    """The section that lies at a path within another, as far as each step is one section."""
    for name in path:
        within = getattr(section.model_fields.get(name), "annotation", None)
        if not (isinstance(within, type) and issubclass(within, BaseModel)):
            return section
        section = within
    return section


class Section(BaseModel, metaclass=_Told):
    """Frozen, closed, and lenient in types: PyYAML reads 3e-4 as a string."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        validate_default=True,
    )


def _no_bool(value: object) -> object:
    """Refuse a bool as a number: YAML reads no, off, yes and on as bools."""
    if isinstance(value, bool):
        raise PydanticCustomError("bool_as_number", "a number")
    return value


def _off_again(value: object) -> object:
    """YAML reads off as False."""
    return "off" if value is False else _no_bool(value)


def _as_list(value: object) -> object:
    """Let a single word stand for a list of one."""
    return [value] if isinstance(value, str) else value


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Share = Annotated[Float, Field(ge=0, lt=1)]
Speculation = Annotated[
    Annotated[int, Field(ge=1, le=64)] | Literal["auto", "off"], BeforeValidator(_off_again)
]
CheckpointEvery = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto", "off"], BeforeValidator(_off_again)
]
Threads = Annotated[
    Annotated[int, Field(ge=1, le=1024)] | Literal["auto"], BeforeValidator(_no_bool)
]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
CorpusReferences = Names
Trackers = Annotated[
    tuple[Literal["wandb", "trackio", "tensorboard"], ...], BeforeValidator(_as_list)
]
