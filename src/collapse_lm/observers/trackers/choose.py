"""Which trackers a configuration names, whether they are installed, and how each is made."""

from collections.abc import Sequence
from importlib.util import find_spec

from collapse_lm._util.extras import install
from collapse_lm.errors import Problem, UserError
from collapse_lm.observers.trackers.base import Tracker
from collapse_lm.observers.trackers.feed import Tracked


def require_trackers(names: Sequence[str]) -> None:
    """Accept trackers that are installed.

    Raises:
        UserError: naming each that is not, and the command that installs it.
    """
    missing = [name for name in dict.fromkeys(names) if not _is_installed(name)]
    problems = [
        Problem(
            "run.trackers", f"{name}, which is not installed", "a tracker that is", install(name)
        )
        for name in missing
    ]
    if problems:
        raise UserError(problems)


def trackers_of(names: Sequence[str]) -> tuple[Tracked, ...]:
    """The trackers of a run as observers; each is imported in its own thread."""
    return tuple(Tracked(name, _MAKERS[name]) for name in dict.fromkeys(names))


def _is_installed(name: str) -> bool:
    """True for a package; a folder of that name (offline runs of wandb lie in one) is none."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def _wandb() -> Tracker:
    from collapse_lm.observers.trackers.on_wandb import OnWandb

    return OnWandb()


def _trackio() -> Tracker:
    from collapse_lm.observers.trackers.on_trackio import OnTrackio

    return OnTrackio()


def _tensorboard() -> Tracker:
    from collapse_lm.observers.trackers.on_tensorboard import OnTensorboard

    return OnTensorboard()


_MAKERS = {"wandb": _wandb, "trackio": _trackio, "tensorboard": _tensorboard}
