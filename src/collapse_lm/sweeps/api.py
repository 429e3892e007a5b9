"""`collapse_lm.sweep`: what the command does, for Python."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from collapse_lm.config import Overrides
from collapse_lm.sweeps.check import require_inputs
from collapse_lm.sweeps.engines.base import Ended
from collapse_lm.sweeps.engines.choose import EngineChoice
from collapse_lm.sweeps.job import SweepJob, SweepResult, SweptRun, plan_job
from collapse_lm.sweeps.spec import SweepSpec

__all__ = ["SweepResult", "SweptRun", "do_job", "sweep"]

OnEnd = Callable[[Ended], None]


def sweep(
    spec: SweepSpec | Mapping[str, Any] | Path | str,
    out: Path | str | None = None,
    *,
    overrides: Overrides = (),
    engine: str = "local",
    jobs: int | None = None,
    threads: int | None = None,
    address: str | None = None,
    gpus: float = 0,
    should_stop: Callable[[], bool] = lambda: False,
    on_end: OnEnd | None = None,
) -> SweepResult:
    """Do a set of runs, not in this process, and write tables and figures of them.

    The same call again finishes only what is missing. A run that fails does not stop the rest.

        grid = {"training.learning_rate": [1e-5, 1e-4]}
        result = collapse_lm.sweep({"base": "quickstart", "grid": grid, "seeds": 3})
        print([run.summary["collapse_update"] for run in result.runs])

    Args:
        spec: the name of a packaged sweep, the path of a YAML file, or its content.
        out: folder of the sweep, new or its own; by default sweeps/NAME.
        overrides: `key=value` strings, or values by dotted key, that every run gets.
        engine: "local" for processes on this machine, "ray" for a Ray cluster.
        jobs: runs at a time (local); by default one per GPU, else 1.
        threads: of each run; by default this machine's over the jobs.
        address: of the Ray cluster; by default Ray is started on this machine.
        gpus: GPUs of each run on Ray.
        should_stop: asked several times a second; once true, running runs end after their
            update with a checkpoint, no other is begun, and no tables are written.
        on_end: called with each run that ended in this call: its name, status and finding.

    Returns:
        The folder, and for every run its path, status and summary.

    Raises:
        UserError: before anything is created, for a bad sweep or option, a folder of something
            else, a missing model or text; where Ray is not installed or does not answer.
        MachineError: where the disk does not take the tables.
    """
    choice = EngineChoice(engine, jobs, threads, address, gpus)
    job = plan_job(spec, out, overrides)
    require_inputs([job], choice)
    job.open()
    result = do_job(job, choice, should_stop, on_end)
    if not result.was_stopped:
        job.write_report()
    return result


def do_job(
    job: SweepJob,
    engine: EngineChoice,
    should_stop: Callable[[], bool],
    on_end: OnEnd | None = None,
) -> SweepResult:
    """Do what is left of a sweep whose folder is open; write no tables."""
    before = job.progress()
    ended: list[Ended] = []
    for one in job.do(job.tasks(before), engine, should_stop):
        ended.append(one)
        if on_end is not None:
            on_end(one)
    return job.result(before, ended)
