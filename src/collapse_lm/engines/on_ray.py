"""Runs on a Ray cluster: a task per run, with its share of processors and GPUs.

The folder of the sweep must be shared by all nodes. Ray starts the task of a worker or
node that died again elsewhere, where the run goes on from its newest checkpoint.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from collapse_lm.engines.base import Ended, Task, start_or_resume, use_threads
from collapse_lm.errors import UserError

INSTALL = "pip install 'collapse-lm[ray]'"
_RETRIES = 5  # of a task whose worker or node dies
_LOOK = 0.5  # seconds
_BUSY = 5.0  # seconds before a run that another process is writing is tried again
_PATIENCE = 24  # tries of such a run


def run_on_ray(
    tasks: Sequence[Task],
    *,
    threads: int,
    gpus: float = 0,
    address: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Ended]:
    """Do tasks on a Ray cluster; yield each as it ends.

    Args:
        tasks: the runs; their paths must mean the same on every node.
        threads: processors that a run asks for, and its threads.
        gpus: GPUs that a run asks for; a fraction lets runs share one.
        address: of a running cluster; None starts Ray on this machine.
        should_stop: asked twice a second; once true, running tasks are ended at once
            (each resumes from its newest checkpoint), and no other is begun.

    Raises:
        UserError: when Ray is not installed or nothing answers at the address.
    """
    ray = _connect(address)
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=_RETRIES)(_do)
    going = {remote.remote(task, threads): task for task in map(_absolute, tasks)}
    refusals: dict[str, int] = {}
    try:
        while going:
            if should_stop():
                yield from _cancel(ray, going)
                return
            ready, _ = ray.wait(list(going), num_returns=1, timeout=_LOOK)
            for reference in ready:
                task = going.pop(reference)
                ended = _result(ray, reference, task)
                refusals[task.name] = refusals.get(task.name, 0) + (ended.status == "busy")
                if ended.status == "busy" and refusals[task.name] < _PATIENCE:
                    time.sleep(_BUSY)
                    going[remote.remote(task, threads)] = task
                else:
                    yield ended
    finally:
        ray.shutdown()


def _connect(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError.single(
            "--engine ray", "the package ray is not installed", "ray>=2.50", INSTALL
        ) from None
    try:
        dashboard = None if address else False  # none for a Ray of this sweep's own
        ray.init(address=address, log_to_driver=False, include_dashboard=dashboard)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError.single(
            "--address", str(address), "a Ray cluster that answers", f"`ray start --head`: {error}"
        ) from error
    return ray


def _absolute(task: Task) -> Task:
    return Task(task.name, task.config, task.path.resolve())


def _do(task: Task, threads: int) -> Ended:
    """The work of a task, in a worker of the cluster."""
    use_threads(threads)
    return start_or_resume(task, lambda: False)


def _result(ray: Any, reference: Any, task: Task) -> Ended:
    """How a task ended, also where its workers died once too often."""
    try:
        ended: Ended = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # a bug of ours, with its traceback
        return Ended(task.name, "failed", str(error))
    except ray.exceptions.RayError as error:
        return Ended(task.name, "failed", f"its worker died {_RETRIES + 1} times: {error}")
    return ended


def _cancel(ray: Any, going: dict[Any, Task]) -> Iterator[Ended]:
    for reference, task in going.items():
        ray.cancel(reference)  # as Ctrl-C: the run is marked interrupted
        yield Ended(task.name, "stopped", "ended at once")
    ray.wait(list(going), num_returns=len(going), timeout=30)
