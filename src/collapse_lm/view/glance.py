"""How far a run is, in a few words, from its manifest, its summary and the end of its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_lm.config.load import read_yaml
from collapse_lm.errors import UserError
from collapse_lm.report.page.private import clean
from collapse_lm.rundir import RunReader, has_writer
from collapse_lm.rundir.layout import CONFIG, UPDATES
from collapse_lm.rundir.rowfile import last_update

RUNNING = "running"
_WRONG = (UserError, OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class Glance:
    """What a list of runs tells of one.

    Attributes:
        status: as recorded; killed where its process is gone; damaged, with what is wrong.
        update: the last one.
        most: updates that were asked for; None if unknown.
        collapse: the collapse update, None without one.
        model: the last part of its reference.
        seed: of the run; None if unknown.
    """

    status: str
    update: int = 0
    most: int | None = None
    collapse: int | None = None
    model: str = ""
    seed: int | None = None


def glance_at(path: Path) -> Glance:
    """Look at a run directory; never raises for what it holds."""
    try:
        manifest, summary = RunReader(path).manifest(), RunReader(path).summary()
        written = str(manifest["status"])
        return Glance(
            "killed" if written == RUNNING and not has_writer(path) else written,
            last_update(path / UPDATES),
            _most(path),
            summary["collapse_update"] if summary and written != RUNNING else None,
            Path(str(manifest["model"]["reference"])).name,
            manifest["seed"],
        )
    except _WRONG as error:
        told = getattr(error, "strerror", None) or str(error).splitlines()[0]
        return Glance(clean(f"damaged: {told}")[:200])


def _most(path: Path) -> int | None:
    tree: Mapping[str, Any] = read_yaml(str(path / CONFIG))
    most = (tree.get("run") or {}).get("max_updates")
    return most if isinstance(most, int) else None
