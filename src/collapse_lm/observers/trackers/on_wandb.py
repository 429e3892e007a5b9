"""Weights & Biases: a run of the project `collapse-lm`, by the name of the run's directory.

Without a login and without WANDB_MODE it is kept offline, in RUN/trackers/wandb, from where
`wandb sync` sends it. WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR and the like hold as ever.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from collapse_lm._util.printable import printable
from collapse_lm.measures.names import Row
from collapse_lm.observers.trackers.base import COLUMNS, PROJECT, TrackedRun, TrackedText
from collapse_lm.observers.trackers.kept import keep, kept

_LOG = logging.getLogger(__name__)
_NAME = "wandb"
_TOLD = ("status", "collapsed", "collapse_update", "reason", "updates")


class OnWandb:
    """Tells wandb. Every row has `update`, which is the axis of all others."""

    def __init__(self) -> None:
        import wandb

        self._wandb, self._is_failed, self._last = wandb, False, 0

    def open(self, run: TrackedRun) -> bool:
        """Begin a run, or go on with the one whose id the run directory keeps."""
        known = kept(run, _NAME)
        run.folder.mkdir(exist_ok=True)
        self._directory = run.directory
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=printable(run.name)[:128],
            group=printable(run.group)[:128] or None,
            dir=os.environ.get("WANDB_DIR") or str(run.folder),
            id=known,
            resume="allow" if known else None,
            config=dict(run.config),
            mode=self._mode(),
            settings=self._wandb.Settings(console="off", silent=True, reinit="create_new"),
        )
        keep(run, _NAME, self._run.id)
        self._run.define_metric("update")
        self._run.define_metric("*", step_metric="update")
        return known is not None

    def row(self, row: Row) -> None:
        """The numbers by their names, beside `update`."""
        self._last = row.update
        self._run.log({"update": row.update, **row.values})

    def texts(self, texts: Sequence[TrackedText]) -> None:
        """All of them are one table at the end; a table per update would be a file each."""

    def alert(self, title: str, text: str) -> None:
        """An alert of wandb, which sends it on as its user has chosen."""
        self._run.alert(title=printable(title), text=printable(text))

    def end(
        self, summary: Mapping[str, Any], texts: Sequence[TrackedText], files: Sequence[Path]
    ) -> None:
        """The table of samples, figures, report, and how the run ended."""
        self._is_failed = summary.get("status") == "failed"
        self._run.summary.update({name: summary.get(name) for name in _TOLD})
        rows = [list(text.cells) for text in texts]
        shown: dict[str, Any] = {
            "samples": self._wandb.Table(columns=list(COLUMNS), data=rows, allow_mixed_types=True)
        }
        for path in files:
            if path.suffix == ".png":
                shown[f"figures/{path.stem}"] = self._wandb.Image(str(path))
            elif path.suffix == ".html":
                shown[path.stem] = self._wandb.Html(str(path), inject=False)
        self._run.log({"update": self._last, **shown})

    def close(self) -> None:
        """Send, or write, what is left."""
        self._run.finish(exit_code=int(self._is_failed))

    def _mode(self) -> Literal["offline"] | None:
        if os.environ.get("WANDB_MODE") or self._wandb.api.api_key:
            return None
        told = "wandb is not logged in: the run is kept offline, and `wandb sync` sends it"
        _LOG.info("%s", told)
        return "offline"
