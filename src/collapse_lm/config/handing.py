"""Parts handed over from Python take their places in a configuration, and again at a resume.

A part of a registered kind is written out as ever; any other is recorded by its name
(`given`), and must be handed over again when the run goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collapse_lm.config.given import Given
from collapse_lm.config.load import Overrides, resolve
from collapse_lm.config.parts import MEASURES, OBJECTIVES, OBSERVERS, OPTIMIZERS, SOURCES
from collapse_lm.config.schema import Config
from collapse_lm.config.slots import Part, Slot
from collapse_lm.errors import UserError


@dataclass(frozen=True)
class Handed:
    """What a caller handed over; None, or nothing, leaves what the configuration says.

    Each is a configuration, a class to be made with the run's context (an optimizer: with
    parameter groups and learning rate), or what does the work itself.
    """

    source: Any = None
    objective: Any = None
    optimizer: Any = None
    measures: Sequence[Any] = ()


def hand_over(config: Config, parts: Handed) -> Config:
    """Put parts into a configuration, measures (a single one, or several) after its own.

    Raises:
        UserError: for what cannot be such a part.
    """
    config = _recordable(config)
    changes: dict[str, Any] = {}
    if parts.source is not None:
        changes["source"] = _taken(SOURCES, parts.source)
    if parts.objective is not None:
        changes["objective"] = _taken(OBJECTIVES, parts.objective)
    if parts.optimizer is not None:
        rule = {"optimizer": _taken(OPTIMIZERS, parts.optimizer)}
        changes["training"] = config.training.model_copy(update=rule)
    more = tuple(_taken(MEASURES, part) for part in several(parts.measures))
    return config.model_copy(update={**changes, "measures": (*config.measures, *more)})


def several(parts: Any) -> tuple[Any, ...]:
    """Let a single part stand for a list of one."""
    return tuple(parts) if isinstance(parts, (list, tuple)) else (parts,)


def loose_observers(config: Config) -> tuple[Part, ...]:
    """The observers of a configuration that no file can name."""
    return tuple(part for part in config.observers if not OBSERVERS.holds(part))


def hand_again(config: Config, parts: Handed) -> Config:
    """Give a recorded configuration the objects that it names.

    Raises:
        UserError: for a part that the run did not begin with.
    """
    measures = [_taken(MEASURES, part) for part in several(parts.measures)]
    training = config.training
    if parts.optimizer is not None:
        rule = _same("optimizer", training.optimizer, _taken(OPTIMIZERS, parts.optimizer))
        training = training.model_copy(update={"optimizer": rule})
    changes: dict[str, Any] = {"training": training}
    for slot, part in ((SOURCES, parts.source), (OBJECTIVES, parts.objective)):
        if part is not None:
            changes[slot.name] = _same(slot.name, getattr(config, slot.name), _taken(slot, part))
    if measures:
        changes["measures"] = _in_order(config.measures, measures)
    return config.model_copy(update=changes)


def with_overrides(config: Config, overrides: Overrides) -> Config:
    """Apply overrides to a configuration, objects that it holds kept."""
    before = _recordable(config)
    after = resolve(before.model_dump(mode="json"), overrides)
    changes: dict[str, Any] = {
        name: _kept(getattr(before, name), getattr(after, name)) for name in ("source", "objective")
    }
    rule = _kept(before.training.optimizer, after.training.optimizer)
    changes["training"] = after.training.model_copy(update={"optimizer": rule})
    if len(before.measures) == len(after.measures):
        changes["measures"] = tuple(map(_kept, before.measures, after.measures))
    return after.model_copy(update=changes)


def _recordable(config: Config) -> Config:
    """A configuration whose parts a file can name, unregistered classes of parts included."""
    changes: dict[str, Any] = {
        "source": _taken(SOURCES, config.source),
        "objective": _taken(OBJECTIVES, config.objective),
        "measures": tuple(_taken(MEASURES, part) for part in config.measures),
    }
    changes["observers"] = tuple(part for part in config.observers if OBSERVERS.holds(part))
    rule = {"optimizer": _taken(OPTIMIZERS, config.training.optimizer)}
    changes["training"] = config.training.model_copy(update=rule)
    return config.model_copy(update=changes)


def _taken(slot: Slot, part: Any) -> Part:
    """The configuration that stands for a part."""
    if isinstance(part, slot.base) and slot.holds(part):
        return part
    is_other = isinstance(part, Part) and not isinstance(part, slot.base)
    if is_other or slot.given is None or not (callable(part) or _does_work(part)):
        raise UserError.single(
            slot.name,
            f"a {type(part).__name__}",
            f"a {slot.base.__name__}, a class, or an object that does the work",
            "docs/extending.md shows each; kinds are named in overrides",
        )
    given: Part = slot.given.of(part)  # type: ignore[attr-defined]
    return given


def _does_work(part: Any) -> bool:
    return isinstance(part, Part) or hasattr(part, "draw")


def _same(place: str, before: Part, now: Part) -> Part:
    is_same = before.is_of(now) if isinstance(before, Given) else before == now
    if not is_same:
        raise UserError.single(place, _told(now), f"{_told(before)}, as the run began")
    return now


def _in_order(before: Sequence[Part], now: Sequence[Part]) -> tuple[Part, ...]:
    """Recorded measures, each that is an object with the one handed over for it."""
    waiting, found = list(now), list[Part]()
    for part in before:
        is_next = isinstance(part, Given) and bool(waiting)
        found.append(_same("measures", part, waiting.pop(0)) if is_next else part)
    if waiting:
        raise UserError.single("measures", _told(waiting[0]), "those that the run began with")
    return tuple(found)


def _kept(before: Part, after: Part) -> Part:
    is_same = isinstance(before, Given) and isinstance(after, Given) and after.is_of(before)
    return before if is_same else after


def _told(part: Part) -> str:
    if not isinstance(part, Given):
        return f"{part.kind} ({part.model_dump(mode='json')})"
    named = ", ".join(f"{name}={value!r}" for name, value in part.settings.items())
    return f"{part.name} ({named})" if named else part.name
