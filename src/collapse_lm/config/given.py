"""Parts that were handed over from Python as objects: what a run records in their place.

`run("quickstart", source=mine)` takes a class (made with the run's `Context`), or what does
the work itself: an object, or a function. The record names it; nobody else can build it.
"""

import hashlib
import inspect
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import PurePath
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr

from collapse_lm.config.slots import Part
from collapse_lm.errors import UserError

_LONGEST_SETTING = 500  # characters of JSON; of a longer one the hash is recorded


class Given(Part):
    """A part that was handed over from Python."""

    kind: Literal["python"] = "python"
    name: str
    """Module and name of its class or function."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Fields of a configuration that no package registers, or arguments of a `partial` that JSON
    has (of a long one its SHA-256)."""
    _part: Any = PrivateAttr(default=None)

    @classmethod
    def of(cls, part: Any) -> Self:
        """Record an object, a function, a class, or the configuration of an unregistered kind."""
        if isinstance(part, Part):
            given = cls(name=_name(type(part)), settings=part.model_dump(mode="json"))
        else:
            given = cls(name=_name(part), settings=_settings(part))
        return given.holding(part)

    def holding(self, part: Any) -> Self:
        """The same record, with the object at hand."""
        copy = self.model_copy()
        copy._part = part
        return copy

    def is_of(self, other: Part) -> bool:
        """True where another record names the same part."""
        return isinstance(other, Given) and (other.name, other.settings) == (
            self.name,
            self.settings,
        )

    def make(self, place: str, *arguments: Any) -> Any:
        """Return what does the work, made with the arguments where a class was handed over.

        Raises:
            UserError: where only its name is known.
        """
        part = self._part
        if part is None:
            raise UserError.single(
                place,
                f"{self.name}, an object that was handed over from Python",
                "the object itself, which no file holds",
                f"in Python: collapse_lm.run(..., {place}=...) or resume(RUN, {place}=...)",
            )
        if isinstance(part, Part):
            return part.build(*arguments)  # type: ignore[attr-defined]
        if not is_maker(part):
            return part
        self._require_taking(place, *arguments)
        return part(*arguments)

    def _require_taking(self, place: str, *arguments: Any) -> None:
        with suppress(ValueError):  # classes in C may have no signature
            try:
                inspect.signature(self._part).bind(*arguments)
            except TypeError as error:
                kinds = ", ".join(type(argument).__name__ for argument in arguments)
                raise UserError.single(
                    place,
                    f"{self.name}, whose arguments do not fit: {error}",
                    f"a class that is made with ({kinds})",
                    "hand over an object of it, or functools.partial(...) of it",
                ) from None


def is_maker(part: object) -> bool:
    """True for a class, or a class with some of its arguments."""
    return isinstance(part, type) or (isinstance(part, partial) and isinstance(part.func, type))


def is_function(part: object, name: str) -> bool:
    """True for what is called and remembers nothing, as it lacks an attribute of its place."""
    return callable(part) and not hasattr(part, name) and not hasattr(part, "state")


def complete(place: str, part: Any, *wanted: str) -> Any:
    """Return a part that has what its place asks for.

    Raises:
        UserError: naming what it lacks.
    """
    missing = [name for name in wanted if not hasattr(part, name)]
    if missing:
        raise UserError.single(
            place,
            f"a {type(part).__name__} without {', '.join(missing)}",
            f"an object with {', '.join(wanted)}",
            "docs/extending.md shows one",
        )
    return part


def _settings(part: Any) -> dict[str, Any]:
    """The arguments of a `partial` as JSON has them; others cannot be compared and are left out."""
    if not isinstance(part, partial):
        return {}
    named = {str(place): value for place, value in enumerate(part.args)} | part.keywords
    found: dict[str, Any] = {}
    for name, value in named.items():
        with suppress(TypeError, ValueError, RecursionError):
            text = json.dumps(value, default=_path, allow_nan=False)
            is_long = len(text) > _LONGEST_SETTING
            found[name] = _hashed(text) if is_long else json.loads(text)
    return found


def _path(value: Any) -> str:
    if isinstance(value, PurePath):
        return os.fspath(value)
    raise TypeError


def _hashed(text: str) -> str:
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def _name(part: Any) -> str:
    if isinstance(part, partial):
        return _name(part.func)
    named: Callable[..., Any] = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}:{named.__qualname__}"
