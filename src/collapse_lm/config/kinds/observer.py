"""The kinds of observer: who watches a run and decides nothing. One class per kind."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, SerializeAsAny

from collapse_lm.config.slots import Part, Slot, as_parts, chooser

if TYPE_CHECKING:
    from collapse_lm.observers.base import Observer


class ObserverConfig(Part, ABC):
    """Somebody who watches a run and decides nothing."""

    @abstractmethod
    def build(self) -> "Observer":
        """Make the observer; what there is to know of the run, `start` tells it."""


class Pictures(ObserverConfig):
    """figures/losses.* and samples.md, drawn at the end of a run."""

    kind: Literal["pictures"] = "pictures"

    def build(self) -> "Observer":
        """Make the observer."""
        from collapse_lm.observers.pictures import PicturesAtTheEnd

        return PicturesAtTheEnd()


OBSERVERS = Slot("observer", ObserverConfig, (Pictures,), "collapse_lm.observers", None)
AnyObserver = Annotated[SerializeAsAny[ObserverConfig], BeforeValidator(chooser(OBSERVERS))]
AnyObservers = Annotated[tuple[AnyObserver, ...], BeforeValidator(as_parts)]
