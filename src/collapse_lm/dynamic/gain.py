"""What learning gains along the text: numbers, a table and a figure."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collapse_lm._util.files import write_atomically
from collapse_lm.analysis.stats.blocks import block_bootstrap
from collapse_lm.dynamic.static import Static
from collapse_lm.report.gain_figure import draw_gain
from collapse_lm.rundir.layout import FIGURES

GAIN = "gain.csv"

Losses = NDArray[np.float64]


def outcome(dynamic: Losses, static: Static, seed: int) -> dict[str, Any]:
    """The dynamic loss in all units, and its difference to the static loss with an interval.

    Args:
        dynamic: mean nats per token of each update.
        static: the untrained model.
        seed: of the interval.
    """
    return {
        **static.told("dynamic", float(dynamic.mean())),
        **difference(dynamic, static.by_update, seed),
    }


def difference(one: Losses, other: Losses, seed: int) -> dict[str, float]:
    """The mean difference of two paired series, with the limits of its 95 % interval."""
    found = asdict(block_bootstrap(list(one - other), seed=seed))
    return {
        "difference": found["value"],
        "difference_lower": found["lower"],
        "difference_upper": found["upper"],
    }


def gained(static: Losses, dynamic: Losses) -> Losses:
    """Static minus dynamic: the mean over all of the text up to each update."""
    gain: Losses = np.cumsum(static - dynamic) / np.arange(1, len(static) + 1)
    return gain


def write_gain(
    folder: Path, static: Static, dynamic: Mapping[str, Losses], *, figure: bool
) -> None:
    """Write gain.csv, and figures/gain where it is wanted.

    Columns: `update`; `tokens` scored up to its end; `static`, the loss of its segments under the
    untrained model; and of each rule NAME its loss, and NAME_gain (see `gained`).

    Args:
        folder: for the files.
        static: the untrained model.
        dynamic: the losses of each rule, by update.
        figure: draw one.
    """
    updates = len(static.by_update)
    tokens = static.tokens // updates * np.arange(1, updates + 1)
    gains = {name: gained(static.by_update, losses) for name, losses in dynamic.items()}
    columns: dict[str, Any] = {"update": range(1, updates + 1), "tokens": tokens.tolist()}
    columns["static"] = static.by_update.tolist()
    for name, losses in dynamic.items():
        columns |= {name: losses.tolist(), f"{name}_gain": gains[name].tolist()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_atomically(folder / GAIN, text.getvalue())
    if figure:
        drawn = {name: gain.tolist() for name, gain in gains.items()}
        draw_gain(tokens.tolist(), drawn, folder / FIGURES)
