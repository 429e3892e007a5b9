"""The pictures that a run ends with: figures/losses.* and samples.md."""

from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.observers.base import AtTheEnd
from collapse_lm.report.losses import draw_losses
from collapse_lm.report.samples import samples_page
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.layout import PAGE
from collapse_lm.rundir.rows import told_origin


class PicturesAtTheEnd(AtTheEnd):
    """Draws a run from its record once its process ends."""

    def make(self, run: Path) -> None:
        """Draw."""
        draw_run(run)


def draw_run(run: Path) -> None:
    """Draw the losses and write the page of samples of one run directory."""
    reader = RunReader(run)
    snapshot, summary, manifest = reader.snapshot(), reader.summary(), reader.manifest()
    with writing(run / "figures"):
        trained_on = told_origin(snapshot.samples)
        draw_losses(snapshot.rows, summary, manifest, run / "figures", trained_on)
    page = samples_page(snapshot.samples, snapshot.rows, summary, manifest)
    write_atomically(run / PAGE, page)
