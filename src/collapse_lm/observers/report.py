"""The page that a run ends with: report.html in its directory."""

import logging
from pathlib import Path

from collapse_lm.observers.base import AtTheEnd
from collapse_lm.rundir.layout import REPORT

_LOG = logging.getLogger(__name__)


class ReportAtTheEnd(AtTheEnd):
    """Writes report.html from the record of a run once its process ends."""

    def make(self, run: Path) -> None:
        """Write."""
        _write(run)


def _write(folder: Path) -> None:
    from collapse_lm.report.page.write import write_report

    write_report([folder], folder / REPORT)


def report_on(folder: Path) -> None:
    """Write report.html of a folder of runs; what fails is told, and stops nothing."""
    try:
        _write(folder)
    except Exception as error:  # as of any observer
        _LOG.warning("%s is not written: %s: %s", folder / REPORT, type(error).__name__, error)
