"""The page that a run ends with: report.html in its directory."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collapse_lm.experiment.batch import Record
from collapse_lm.observers.base import RunFacts
from collapse_lm.rundir.layout import REPORT

_LOG = logging.getLogger(__name__)


class ReportAtTheEnd:
    """Writes report.html from the record of a run once its process ends."""

    def __init__(self) -> None:
        self._run: Path | None = None

    def start(self, run: RunFacts) -> None:
        """Note where the record is."""
        self._run = run.directory

    def update(self, record: Record) -> None:
        """Everything is made from the record at the end."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """Write."""
        if self._run is not None:
            _write(self._run)


def _write(folder: Path) -> None:
    from collapse_lm.report.page.write import write_report

    write_report([folder], folder / REPORT)


def report_on(folder: Path) -> None:
    """Write report.html of a folder of runs; what fails is told, and stops nothing."""
    try:
        _write(folder)
    except Exception as error:  # as of any observer
        _LOG.warning("%s is not written: %s: %s", folder / REPORT, type(error).__name__, error)
