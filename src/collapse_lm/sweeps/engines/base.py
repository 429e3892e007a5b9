"""What every engine is given and gives back, and the work of one task."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from collapse_lm.config import Config
from collapse_lm.errors import CollapseLMError
from collapse_lm.rundir.layout import holds_run

Status = Literal["done", "stopped", "busy", "failed"]


@dataclass(frozen=True)
class Task:
    """One run: its configuration and its run directory."""

    name: str
    config: Config
    path: Path


@dataclass(frozen=True)
class Ended:
    """How a task ended.

    Attributes:
        name: of the task.
        status: done (whatever the finding), stopped by a signal, busy (another process
            is writing the run), or failed.
        told: the finding, or what failed.
    """

    name: str
    status: Status
    told: str


def start_or_resume(task: Task, should_stop: Callable[[], bool]) -> Ended:
    """Do a task in this process, from its newest checkpoint where there is one.

    Errors of the input or the machine end as `failed`; anything else is raised.
    """
    from collapse_lm.rundir import has_writer
    from collapse_lm.rundir.resume import overrides_to
    from collapse_lm.rundir.session import resume, run
    from collapse_lm.sweeps.progress import finding

    task = replace(task, config=_as_swept(task.config))
    try:
        if holds_run(task.path):
            overrides = overrides_to(task.path, _not_shorter(task))
            result = resume(task.path, overrides=overrides, should_stop=should_stop)
        else:
            result = run(_with_given_threads(task.config), task.path, should_stop=should_stop)
    except CollapseLMError as error:
        return Ended(task.name, "busy" if has_writer(task.path) else "failed", str(error))
    summary = result.summary
    status: Status = "stopped" if summary["status"] == "interrupted" else "done"
    return Ended(task.name, status, finding(summary))


def _as_swept(config: Config) -> Config:
    """A run of a sweep writes no report, unless that is asked for: the sweep has one."""
    if "report" in config.run.model_fields_set:
        return config
    run = config.run.model_copy(update={"report": False})
    return config.model_copy(update={"run": run})


def _with_given_threads(config: Config) -> Config:
    """A run of a sweep has the threads that the engine gave to its process, and tries no other."""
    import torch

    run = config.run.model_copy(update={"threads": torch.get_num_threads()})
    return config.model_copy(update={"run": run})


def _not_shorter(task: Task) -> Config:
    """The configuration of a task; a run that was begun for longer stays as long."""
    from collapse_lm.rundir.resume import load_recorded

    longest = max(load_recorded(task.path).run.max_updates, task.config.run.max_updates)
    run = task.config.run.model_copy(update={"max_updates": longest})
    return task.config.model_copy(update={"run": run})


def use_threads(threads: int) -> None:
    """Give this process so many threads of torch."""
    import torch

    torch.set_num_threads(threads)
