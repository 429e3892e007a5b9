"""An observer may fail: it is told once, and switched off; the run goes on."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from collapse_lm.config.given import complete
from collapse_lm.config.parts import ObserverConfig
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Record
from collapse_lm.observers.base import Observer, RunFacts

_LOG = logging.getLogger(__name__)


def build_all(configs: Iterable[ObserverConfig]) -> tuple[Observer, ...]:
    """Build observers; one that cannot be built is told and left out."""
    built: list[Observer] = []
    for config in configs:
        try:
            built.append(config.build())
        except Exception as error:  # whatever it raises
            _LOG.warning(
                "observer %s is switched off: %s: %s", config.kind, type(error).__name__, error
            )
    return tuple(built)


def built(observers: Iterable[Any]) -> tuple[Observer, ...]:
    """Observers that were handed over from Python: objects, or their configurations.

    Raises:
        UserError: for what can be told nothing.
    """
    found = list[Observer]()
    for observer in observers:
        if isinstance(observer, ObserverConfig):
            found += build_all([observer])
        elif isinstance(observer, type):
            raise UserError.single("observers", f"the class {observer.__name__}", "an object of it")
        else:
            found.append(complete("observers", observer, "start", "update", "end"))
    return tuple(found)


class Guarded:
    """Several observers as one that never raises."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def start(self, run: RunFacts) -> None:
        """Tell every observer."""
        self._tell("start", lambda observer: observer.start(run))

    def update(self, record: Record) -> None:
        """Tell every observer that still works."""
        self._tell(f"update {record.update}", lambda observer: observer.update(record))

    def end(self, summary: Mapping[str, Any]) -> None:
        """Tell every observer that still works."""
        self._tell("end", lambda observer: observer.end(summary))

    def _tell(self, moment: str, call: Callable[[Observer], None]) -> None:
        for observer in list(self._observers):
            try:
                call(observer)
            except Exception as error:  # whatever an observer raises
                self._observers.remove(observer)
                name = f"{type(observer).__module__}.{type(observer).__qualname__}"
                told = f"{type(error).__name__}: {error}"
                message = "observer %s failed at %s and is switched off: %s"
                _LOG.warning(message, name, moment, told, exc_info=_LOG.isEnabledFor(logging.DEBUG))
