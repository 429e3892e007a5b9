"""Trackio: a run of the local project `collapse-lm` (`trackio show` opens it).

It lies where trackio keeps its projects (TRACKIO_DIR), by the name of the run's directory.
"""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.measures.names import Row
from collapse_lm.observers.trackers.base import COLUMNS, PROJECT, TrackedRun, TrackedText
from collapse_lm.observers.trackers.kept import keep, kept

_NAME = "trackio"


class OnTrackio:
    """Tells trackio; an update is a step."""

    def __init__(self) -> None:
        import trackio

        self._trackio, self._last = trackio, 0

    def open(self, run: TrackedRun) -> bool:
        """Begin a run, or go on with the one whose name the run directory keeps."""
        known = kept(run, _NAME)
        self._run = self._trackio.init(
            project=PROJECT,
            name=known or self._new_name(printable(run.name)),
            group=printable(run.group) or None,
            config=dict(run.config),
            resume="allow" if known else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        keep(run, _NAME, self._run.name)
        return known is not None

    def row(self, row: Row) -> None:
        """The numbers by their names."""
        self._last = row.update
        self._run.log(dict(row.values), step=row.update)

    def texts(self, texts: Sequence[TrackedText]) -> None:
        """All of them are one table at the end."""

    def alert(self, title: str, text: str) -> None:
        """An alert of trackio, which prints it too."""
        self._run.alert(printable(title), printable(text), step=self._last)

    def end(
        self, summary: Mapping[str, Any], texts: Sequence[TrackedText], files: Sequence[Path]
    ) -> None:
        """The table of samples, the figures and the report."""
        rows = [list(text.cells) for text in texts]
        shown: dict[str, Any] = {"samples": self._trackio.Table(columns=list(COLUMNS), data=rows)}
        for path in files:
            if path.suffix == ".png":
                shown[f"figures/{path.stem}"] = self._trackio.Image(str(path))
            elif path.suffix == ".html":
                shown[path.stem] = self._trackio.Html(path, inject=False)
        self._run.log(shown, step=self._last)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()

    def _new_name(self, name: str) -> str:
        """A name that no run of the project has."""
        try:
            taken = {run.name for run in self._trackio.Api().runs(PROJECT)}
        except ValueError:  # no such project yet
            taken = set()
        return f"{name}-{uuid.uuid4().hex[:6]}" if name in taken else name
