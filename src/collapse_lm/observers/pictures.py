"""The pictures that every run ends with: figures/losses.* and samples.md."""

from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.report.losses import draw_losses
from collapse_lm.report.samples import samples_page
from collapse_lm.rundir import RunReader


def write_first_pictures(run: Path) -> None:
    """Draw the losses and write the page of samples of one run directory."""
    reader = RunReader(run)
    rows, summary, manifest = reader.updates(), reader.summary(), reader.manifest()
    with writing(run / "figures"):
        draw_losses(rows, summary, manifest, run / "figures")
    page = samples_page(reader.samples(), rows, summary, manifest)
    write_atomically(run / "samples.md", page)
