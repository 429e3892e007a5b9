"""Losses against updates, in the manner of the paper's Figures 2 and 4.

Left the validation loss, right the train loss, a colour per learning rate.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collapse_lm.analysis.curves import mean_curve
from collapse_lm.analysis.levels import name_rate, rate, sort_by
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.report.style import (
    WIDTH,
    line_legend,
    looks,
    new_figure,
    paper_look,
    save_figure,
    shown,
)

_BANDS = {
    "": "",
    "range": "the band is the range of the runs (fewer than five)",
    "standard error": "the band is the mean ± one standard error over runs",
}


def figure_2(runs: Sequence[Measured], folder: Path) -> str:
    """Draw the paper's Figure 2 from runs at several learning rates; return its caption."""
    corpora = _corpora(runs)[:1]
    return _draw(runs, corpora, folder, "figure2") if corpora else ""


def figure_4(runs: Sequence[Measured], folder: Path) -> str:
    """Draw the paper's Figure 4, a row per further corpus; return its caption.

    Nothing is drawn, and the caption is empty, where there is one corpus only.
    """
    corpora = _corpora(runs)[1:]
    return _draw(runs, corpora, folder, "figure4") if corpora else ""


def draw_level(axes: Any, series: Sequence[dict[int, float]], look: dict[str, Any]) -> str:
    """Draw each run thin, their mean thick and a band; return what the band is."""
    for run in series:
        known = [(update, y) for update, y in sorted(run.items()) if math.isfinite(y)]
        axes.plot([x for x, _ in known], [y for _, y in known], **look, linewidth=0.5, alpha=0.35)
    curve = mean_curve(series)
    axes.plot(curve.update, curve.mean, **look, marker="o" if len(curve.update) == 1 else None)
    axes.fill_between(
        curve.update, curve.lower, curve.upper, color=look["color"], alpha=0.15, linewidth=0
    )
    return _BANDS[curve.band]


def band_words(bands: Sequence[str]) -> str:
    """Say once what the bands of a figure are."""
    known = list(dict.fromkeys(band for band in bands if band))
    return f"; {'; or '.join(known)}" if known else ""


def _draw(runs: Sequence[Measured], corpora: Sequence[str], folder: Path, name: str) -> str:
    levels = sort_by(runs, rate)
    with paper_look():
        figure = new_figure(WIDTH, 0.5 + 1.9 * len(corpora))
        rows = figure.subplots(len(corpora), 2, sharex=True, squeeze=False)
        bands = [
            band
            for (validation, train), corpus in zip(rows, corpora, strict=True)
            for band in _panels(validation, train, levels, corpus)
        ]
        for axes in rows[-1]:
            axes.set_xlabel("updates")
        line_legend(figure, [name_rate(level) for level in levels], "learning rate")
        save_figure(figure, folder, name)
    return _caption(runs, corpora, bands)


def _panels(
    validation: Any, train: Any, levels: dict[float, list[Measured]], corpus: str
) -> list[str]:
    bands = []
    for look, runs in zip(looks(len(levels)), levels.values(), strict=True):
        bands.append(draw_level(validation, [r.validation_loss(corpus) for r in runs], look))
        bands.append(draw_level(train, [r.train_loss() for r in runs], look))
    validation.set_title(f"validation: {shown(corpus)}")
    validation.set_ylabel("loss (nats per token)")
    train.set_title("train: own samples")
    train.set_ylim(bottom=-0.03 * train.get_ylim()[1])  # a loss of 0 stays visible
    return bands


def _caption(runs: Sequence[Measured], corpora: Sequence[str], bands: Sequence[str]) -> str:
    names = ", ".join(shown(corpus) for corpus in corpora)
    return (
        f"Loss against updates by learning rate: validation on {names}, and train loss on the "
        f"model's own samples. Thin lines: the {len(runs)} runs. Thick: mean over the runs of a "
        "learning rate that are still running, while these are at least half; it may step where a "
        f"run ends{band_words(bands)}."
    )


def _corpora(runs: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(corpus for run in runs for corpus in run.outcome.corpora))
