"""A union over `kind` for each place of an experiment, open to other packages.

A part of ours is a class of this package; a part of another package registers its class
by entry point in the group of its place (`collapse_lm.sources`, `.objectives`,
`.optimizers`, `.measures`, `.observers`) and is named `package:kind`. Such a class is
loaded when it is named, never before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from collapse_lm.config.fields import Section


class Part(Section):
    """A configuration that builds a part; `kind` tells which."""

    kind: str


@dataclass(frozen=True)
class Slot:
    """A place of an experiment that several kinds of part fit.

    Attributes:
        name: of the place, in messages and in `collapse-lm parts`.
        base: class of all its configurations.
        own: the kinds of this package.
        group: of the entry points of other packages.
        given: what a run records in place of an object from Python; None where it records none.
    """

    name: str
    base: type[Part]
    own: tuple[type[Part], ...]
    group: str
    given: type[Part] | None

    def kinds(self) -> dict[str, "type[Part] | EntryPoint"]:
        """Every kind by name: classes of ours, entry points (not loaded) of others."""
        ours: dict[str, type[Part] | EntryPoint] = {kind_of(part): part for part in self.own}
        found = entry_points(group=self.group)
        return ours | {f"{e.dist.name}:{e.name}": e for e in found if e.dist is not None}

    def holds(self, part: Part) -> bool:
        """True for a part that its kind builds again wherever it is read."""
        try:
            return self.load(part.kind) is type(part)
        except PydanticCustomError:
            return False

    def known(self) -> tuple[type[Part], ...]:
        """The classes at hand: ours, and those of other packages that have been named."""
        return (*self.own, *(part for part in _LOADED if issubclass(part, self.base)))

    def load(self, kind: str) -> type[Part]:
        """Return the class of a kind.

        Raises:
            PydanticCustomError: for a kind that there is not, or that cannot be loaded.
        """
        if self.given is not None and kind == kind_of(self.given):
            return self.given
        known = self.kinds()
        if kind not in known:
            raise PydanticCustomError("unknown_kind", "one of {kinds}", {"kinds": ", ".join(known)})
        found = known[kind]
        if not isinstance(found, EntryPoint):
            return found
        try:
            loaded = found.load()
        except Exception as error:  # whatever the other package raises while it is imported
            told = f"a part that can be loaded ({found.value}: {type(error).__name__}: {error})"
            raise PydanticCustomError("broken_kind", "{told}", {"told": told}) from error
        if not (isinstance(loaded, type) and issubclass(loaded, self.base)):
            told = f"a subclass of {self.base.__name__} behind {found.value}"
            raise PydanticCustomError("broken_kind", "{told}", {"told": told})
        if loaded not in _LOADED:
            _LOADED.append(loaded)
        return loaded


_LOADED: list[type[Part]] = []  # classes of other packages, as they were named


def kind_of(part: type[Part]) -> str:
    """The kind of a class of ours."""
    return str(part.model_fields["kind"].default)


def chooser(slot: Slot) -> Callable[[object], object]:
    """A validator that turns a mapping with a `kind` (or a kind alone) into its class."""

    def choose(value: object) -> object:
        if isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, slot.base) or not isinstance(value, Mapping):
            return value
        kind = str(value.get("kind", kind_of(slot.own[0])))
        try:
            chosen = slot.load(kind)
        except PydanticCustomError as error:
            details = InitErrorDetails(type=error, loc=("kind",), input=kind)
            raise ValidationError.from_exception_data(slot.name, [details]) from None
        return chosen.model_validate({**value, "kind": kind})

    return choose


def as_parts(value: object) -> object:
    """Let a single part stand for a list of one."""
    return [value] if isinstance(value, (str, Mapping)) else value
