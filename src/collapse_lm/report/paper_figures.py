"""`collapse-lm figures`: figures at the widths of a paper, with embedded fonts and their data.

Each is written twice, NAME at the width of the text and NAME-column at that of one of two
columns, as PDF, SVG and PNG, beside NAME.csv, the numbers behind it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.analysis.outcomes import LeftOut, at_risk, measure_runs
from collapse_lm.measures.names import Row, label
from collapse_lm.report.claims_page import cell
from collapse_lm.report.figure_data import rows_csv
from collapse_lm.report.gallery import Figure
from collapse_lm.report.losses import ENTROPIES, SHARES, plot_losses, plot_texts
from collapse_lm.report.style import COLUMN, WIDTH, NotDrawnError
from collapse_lm.report.sweep_figures import sweep_figures
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.rows import told_origin

_NOTE = "NAME-column is the same figure as wide as one of two columns, its panels below each other."


@dataclass(frozen=True)
class PaperFigures:
    """What was written.

    Attributes:
        files: of the figures, their data, and captions.md.
        not_drawn: by figure, why it is not there.
        left_out: runs that are in no figure, and why.
    """

    files: tuple[Path, ...]
    not_drawn: Mapping[str, str]
    left_out: tuple[LeftOut, ...]


def figures_of_run(reader: RunReader, out: Path) -> PaperFigures:
    """Draw one run, in whatever state it is: losses, and measures of its texts.

    Raises:
        RecordError: for a run that is damaged.
        MachineError: where the disk does not take a file.
    """
    snapshot, summary = reader.snapshot(), reader.summary()
    rows, origin = snapshot.rows, told_origin(snapshot.samples)
    figures = {
        "losses": Figure(
            lambda folder, name, width: plot_losses(rows, summary, origin, folder / name, width),
            lambda: rows_csv(rows, _loss_names(rows)),
        ),
        "texts": Figure(
            lambda folder, name, width: plot_texts(rows, summary, folder / name, width),
            lambda: rows_csv(rows, [*SHARES, *ENTROPIES]),
        ),
    }
    return _write(figures, out, ())


def figures_of_runs(
    keys: Sequence[str], group: str | None, runs: Sequence[RunReader], out: Path
) -> PaperFigures:
    """Draw the runs of a sweep that have ended, as `write_sweep` does.

    Args:
        keys: dotted, that runs differ in, the seed aside.
        group: "learning rate", "size" or "phase" where they vary that.
        runs: run directories.
        out: made where it does not exist.

    Raises:
        MachineError: where the disk does not take a file.
    """
    found, left_out = measure_runs(runs)
    timed, never = at_risk(found)
    return _write(sweep_figures(keys, group, found, timed), out, (*left_out, *never))


def _loss_names(rows: Sequence[Row]) -> list[str]:
    corpora = dict.fromkeys(name for row in rows for name in row.labelled("validation.loss"))
    return [*(label("validation.loss", name) for name in corpora), "train.loss", "probe.loss"]


def _write(figures: Mapping[str, Figure], out: Path, left_out: tuple[LeftOut, ...]) -> PaperFigures:
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    captions, columns, reasons = dict[str, str](), dict[str, str](), dict[str, str]()
    for name, figure in figures.items():
        try:
            captions[name] = figure.draw(out, name, WIDTH)
        except NotDrawnError as error:
            reasons[name] = str(error)
            continue
        in_column = figure.draw(out, f"{name}-column", COLUMN)
        if in_column != captions[name]:
            columns[name] = in_column
        write_atomically(out / f"{name}.csv", figure.data())
    parts = ["# Figures", _NOTE]
    for name, told in captions.items():
        parts.append(f"## {name}\n\n{cell(told)}")
        parts += [f"## {name}-column\n\n{cell(columns[name])}"] if name in columns else []
    write_atomically(out / "captions.md", "\n\n".join(parts) + "\n")
    kinds = ("pdf", "svg", "png")
    files = [
        path
        for name in captions
        for path in (
            *(out / f"{name}{suffix}.{kind}" for suffix in ("", "-column") for kind in kinds),
            out / f"{name}.csv",
        )
    ]
    return PaperFigures((*files, out / "captions.md"), reasons, left_out)
