"""Those who watch a run: they see what is on disk already, may fail, and never decide."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from collapse_lm.experiment.batch import Record

if TYPE_CHECKING:
    from collapse_lm.config.schema import Config


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run when a process begins or goes on with it.

    Attributes:
        directory: of the run.
        config: complete.
        manifest: what it was made of (docs/run-format.md).
        update: updates done by earlier processes.
    """

    directory: Path
    config: "Config"
    manifest: Mapping[str, Any]
    update: int


class Observer(Protocol):
    """Watches a run."""

    def start(self, run: RunFacts) -> None:
        """A process begins or goes on with a run."""
        ...

    def update(self, record: Record) -> None:
        """An update is over, and its rows are on disk."""
        ...

    def end(self, summary: Mapping[str, Any]) -> None:
        """The run has ended, or its process goes; summary.json and the manifest are written."""
        ...


class AtTheEnd(ABC):
    """Makes something of the record of a run once its process ends."""

    def __init__(self) -> None:
        self._run: Path | None = None

    def start(self, run: RunFacts) -> None:
        """Note where the record is."""
        self._run = run.directory

    def update(self, record: Record) -> None:  # noqa: B027 (there is nothing to override)
        """Nothing: all is made from the record."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """Make it."""
        if self._run is not None:
            self.make(self._run)

    @abstractmethod
    def make(self, run: Path) -> None:
        """Make it of a run directory."""
