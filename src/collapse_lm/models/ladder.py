"""Models of the ladder by name: made once by the recipe of `pretrain`, kept in the user's cache.

    ladder:WIDTHxDEPTH[@SEED]    e.g. ladder:128x4, or ladder:128x4@2

SEED is that of the pretraining (initial weights and order of the windows), by default 0. The
folder holds the recipe's fingerprint in its name, so that another recipe is another model.
A model is made by `collapse-lm pretrain` in a process of its own: what trains stands above what
loads, and leaves no threads or memory behind.
"""

import logging
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from collapse_lm._util.files import require_writable
from collapse_lm._util.paths import cache_folder
from collapse_lm.errors import MachineError, UserError
from collapse_lm.models.files import LocalModel

if TYPE_CHECKING:
    from collapse_lm.pretraining.recipe import Recipe
    from collapse_lm.pretraining.texts import Texts

PREFIX = "ladder:"
_FORM = re.compile(r"ladder:([^@]+)(?:@(\d{1,18}))?")
_DIGITS = 12  # of a fingerprint, in the name of a folder
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rung:
    """A model of the ladder: what it is made by, and where it lies or will lie."""

    reference: str
    recipe: "Recipe"
    folder: Path
    fingerprint: str

    @property
    def is_made(self) -> bool:
        """True where the whole model lies in its place."""
        from collapse_lm.pretraining.folder import read_fingerprint

        return read_fingerprint(self.folder) == self.fingerprint


def is_ladder(reference: str) -> bool:
    """True for the name of a model of the ladder, or what is meant as one."""
    return reference.startswith(PREFIX)


def rung_of(reference: str) -> Rung:
    """Read a reference; make nothing.

    Raises:
        UserError: for a name of another form, a size that no recipe takes, or a text that
            cannot be had.
    """
    from collapse_lm.pretraining.recipe import require_recipe
    from collapse_lm.pretraining.texts import fingerprint

    found = _FORM.fullmatch(reference)
    if found is None:
        expected = f"{PREFIX}WIDTHxDEPTH or {PREFIX}WIDTHxDEPTH@SEED"
        raise UserError.single("model", reference, expected, f"e.g. {PREFIX}128x4@1")
    size, seed = found[1], found[2] or "0"
    recipe = require_recipe({"sizes": size, "seed": seed})
    mark = fingerprint(recipe, recipe.ladder[0], _packaged_texts())
    place = cache_folder() / "ladder" / f"{size}-seed{int(seed)}-{mark[:_DIGITS]}"
    return Rung(reference, recipe, place / size, mark)


@cache
def _packaged_texts() -> "Texts":
    """The texts of every such recipe, for their hashes alone: read once in a process."""
    from collapse_lm.pretraining.recipe import Recipe
    from collapse_lm.pretraining.texts import Texts, load_texts

    texts = load_texts(Recipe())
    return Texts(replace(texts.learned, text=""), replace(texts.held_out, text=""))


def prepare(reference: str) -> LocalModel:
    """Return a model of the ladder, training it first where the cache does not hold it.

    Raises:
        UserError: as `rung_of`.
        MachineError: where the cache cannot be written, or the training fails.
    """
    rung = rung_of(reference)
    if not rung.is_made:
        require_writable(rung.folder.parent)
        _LOG.info("making %s once in %s (this takes minutes)", reference, rung.folder.parent)
        _make(rung)
    return LocalModel(rung.folder, str(rung.folder), None)


def _make(rung: Rung) -> None:
    """Train it; whoever is first there, of several processes, fills the place."""
    words = ["pretrain", "--sizes", str(rung.recipe.ladder[0]), "--seed", str(rung.recipe.seed)]
    command = [sys.executable, "-P", "-m", "collapse_lm", *words, "--out", str(rung.folder.parent)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode and not rung.is_made:
        told = done.stderr.strip() or f"it ended with {done.returncode}"
        raise MachineError(f"{rung.reference} could not be made: {told}")
