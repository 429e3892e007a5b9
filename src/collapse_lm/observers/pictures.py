"""The pictures that a run ends with: figures/losses.* and samples.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.experiment.batch import Record
from collapse_lm.observers.base import RunFacts
from collapse_lm.report.losses import draw_losses
from collapse_lm.report.samples import samples_page
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.layout import PAGE
from collapse_lm.rundir.rows import told_origin


class PicturesAtTheEnd:
    """Draws a run from its record once its process ends."""

    def __init__(self) -> None:
        self._run: Path | None = None

    def start(self, run: RunFacts) -> None:
        """Note where the record is."""
        self._run = run.directory

    def update(self, record: Record) -> None:
        """Everything is drawn from the record at the end."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """Draw."""
        if self._run is not None:
            draw_run(self._run)


def draw_run(run: Path) -> None:
    """Draw the losses and write the page of samples of one run directory."""
    reader = RunReader(run)
    snapshot, summary, manifest = reader.snapshot(), reader.summary(), reader.manifest()
    with writing(run / "figures"):
        trained_on = told_origin(snapshot.samples)
        draw_losses(snapshot.rows, summary, manifest, run / "figures", trained_on)
    page = samples_page(snapshot.samples, snapshot.rows, summary, manifest)
    write_atomically(run / PAGE, page)
