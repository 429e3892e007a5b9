"""What dynamic evaluation gains along a text: a line per rule."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from collapse_lm.report.style import WIDTH, line_legend, looks, new_figure, paper_look, save_figure

_HEIGHT = 2.8  # inches
GAIN_FIGURE = "gain"


def draw_gain(
    tokens: Sequence[int],
    gains: Mapping[str, Sequence[float]],
    folder: Path,
    name: str = GAIN_FIGURE,
) -> str:
    """Write NAME.svg, .png and .pdf; return the caption.

    Args:
        tokens: scored, of each point.
        gains: nats per token of each rule: static minus dynamic loss, the mean over all tokens so
            far.
        folder: for the files.
        name: of the files.
    """
    with paper_look():
        figure = new_figure(WIDTH, _HEIGHT)
        axes = figure.subplots()
        for gain, look in zip(gains.values(), looks(len(gains)), strict=True):
            axes.plot(tokens, gain, **look)
        axes.axhline(0, color="0.5", linewidth=0.6)
        axes.set_xlabel("tokens")
        axes.set_ylabel("gain (nats per token)")
        line_legend(figure, list(gains), "rule")
        save_figure(figure, folder, name)
    return (
        "Static minus dynamic loss, the mean over all tokens so far, against tokens of the text; "
        "above the line learning helps"
    )
