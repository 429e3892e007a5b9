"""Figures of a folder with their captions, and of those that are not drawn, why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.report.claims_page import cell
from collapse_lm.report.style import FORMATS, NotDrawnError

Draw = Callable[[], str]  # draws, and returns the caption; or raises NotDrawnError


@dataclass(frozen=True)
class Figure:
    """A figure that is drawn at any width, with the numbers behind it.

    Attributes:
        draw: into a folder, under a name, at a width in inches; returns the caption, or
            raises NotDrawnError.
        data: as CSV text.
    """

    draw: Callable[[Path, str, float], str]
    data: Callable[[], str]


# Of this and of earlier releases, whatever they are of now.
_OURS = (
    *("figure2", "figure3", "figure4", "survival*", "curves*", "onset", "phase"),
    *("arms*", "dose*", "endings", "rates"),
)


def write_figures(figures: Mapping[str, Draw], folder: Path) -> dict[str, str]:
    """Draw figures and write captions.md; leave none of an earlier call beside them.

    Returns:
        Why each figure that was not drawn was not.

    Raises:
        MachineError: where the disk does not take a file.
    """
    with writing(folder):
        folder.mkdir(exist_ok=True)
    captions, reasons = dict[str, str](), dict[str, str]()
    for name, draw in figures.items():
        try:
            captions[name] = draw()
        except NotDrawnError as error:
            reasons[name] = str(error)
    for pattern in _OURS:
        for suffix in FORMATS:
            for path in folder.glob(f"{pattern}.{suffix}"):
                if path.stem not in captions:
                    path.unlink()
    parts = ["# Figures", *(f"## {name}\n\n{cell(told)}" for name, told in captions.items())]
    if reasons:
        lines = [f"- {name}: {reason}" for name, reason in reasons.items()]
        parts.append("\n".join(["## Not drawn", "", *lines]))
    write_atomically(folder / "captions.md", "\n\n".join(parts) + "\n")
    return reasons
