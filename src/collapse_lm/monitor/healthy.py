"""The last healthy checkpoint: the model as it was at a probe that showed nothing.

Knows nothing of what healthy means.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collapse_lm._util.files import open_to_umask
from collapse_lm.models.own_code import told
from collapse_lm.monitor.reading import unwrapped

FOLDER = "healthy"

_LOG = logging.getLogger("collapse_lm.monitor")


class Healthy:
    """Keeps one checkpoint in a run directory.

    Args:
        is_wanted: False keeps none.

    Attributes:
        step: of the checkpoint that stands; None without one.
        path: its folder, likewise.
    """

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self.step: int | None = None
        self.path: Path | None = None

    def keep(self, run: Path, step: int, model: Any, tokenizer: Any) -> None:
        """Save a model to RUN/healthy/step-N, and only then remove the one before.

        Under peft these are the adapters alone. What fails is told once, and nothing is saved
        from then on.

        Args:
            run: the run directory.
            step: of the trainer.
            model: of transformers or peft, wrapped or not.
            tokenizer: is saved beside it.
        """
        if not self._is_wanted:
            return
        try:
            _save(run / FOLDER, f"step-{step}", unwrapped(model), tokenizer)
        except Exception as error:  # of a disk, or of whatever saves a model; training goes on
            self._is_wanted = False
            _LOG.warning("no healthy checkpoint is kept from step %d on: %s", step, told(error))
            return
        if self.step is not None and self.step != step:
            shutil.rmtree(run / FOLDER / f"step-{self.step}", ignore_errors=True)
        self.step, self.path = step, run / FOLDER / f"step-{step}"


def _save(folder: Path, name: str, model: Any, tokenizer: Any) -> None:
    """Write beside the place, and rename."""
    partial = folder / f".{name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with _without_bars():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    open_to_umask(partial)
    partial.rename(folder / name)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar at each probe, and leave it as it was."""
    from transformers.utils import logging as theirs

    were_on = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            theirs.enable_progress_bar()
