"""Runs on a Ray cluster: a task per run, with its share of processors and GPUs.

The folder of the sweep must be shared by all nodes. Ray starts the task of a worker or
node that died again elsewhere, where the run goes on from its newest checkpoint.
"""

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_lm._util.extras import install
from collapse_lm.corpora.corpus import DATA_VARIABLE
from collapse_lm.errors import UserError
from collapse_lm.rundir import has_writer
from collapse_lm.sweeps.engines.base import Ended, Task, start_or_resume, use_threads

_LOG = logging.getLogger(__name__)
INSTALL = install("ray")
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
        should_stop: asked twice a second; once true, running tasks end after their
            update with a checkpoint, and no other is begun.

    Raises:
        UserError: when Ray is not installed or nothing answers at the address.
    """
    if not tasks:
        return
    ray = _connect(address)
    _tell_if_nothing_fits(ray, threads, gpus)
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=_RETRIES)(_do)
    stop = tasks[0].path.resolve().parent / f".stop-{uuid.uuid4().hex}"
    place = _Place(threads, gpus > 0, os.getcwd(), os.environ.get(DATA_VARIABLE), stop)  # noqa: PTH109
    going = {remote.remote(task, place): task for task in map(_absolute, tasks)}
    refusals: dict[str, int] = {}
    try:
        while going:
            if should_stop() and not stop.exists():
                stop.parent.mkdir(parents=True, exist_ok=True)
                stop.touch()
                _cancel_what_has_not_begun(ray, going)
            ready, _ = ray.wait(list(going), num_returns=1, timeout=_LOOK)
            for reference in ready:
                task = going.pop(reference)
                ended = _result(ray, reference, task)
                refusals[task.name] = refusals.get(task.name, 0) + (ended.status == "busy")
                if ended.status == "busy" and refusals[task.name] < _PATIENCE:
                    time.sleep(_BUSY)
                    going[remote.remote(task, place)] = task
                else:
                    yield ended
    finally:
        stop.unlink(missing_ok=True)
        ray.shutdown()


@dataclass(frozen=True)
class _Place:
    """What a task needs to find the same world in a worker of another node.

    Attributes:
        threads: of torch.
        may_use_gpu: false hides the GPUs of the node.
        folder: where the sweep was started, for paths that are relative to it.
        data: folder of WikiText-2 and PTB, if any.
        stop: a file in the shared folder that asks every task to end.
    """

    threads: int
    may_use_gpu: bool
    folder: str
    data: str | None
    stop: Path


def _connect(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError.single(
            "--engine ray", "the package ray is not installed", "ray>=2.50", INSTALL
        ) from None
    try:
        dashboard = None if address else False  # none for a Ray of this sweep's own
        where = address or "local"  # never a cluster that happens to run here
        ray.init(address=where, log_to_driver=False, include_dashboard=dashboard)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError.single(
            "--address", str(address), "a Ray cluster that answers", f"`ray start --head`: {error}"
        ) from error
    return ray


def _tell_if_nothing_fits(ray: Any, threads: int, gpus: float) -> None:
    """Say why nothing begins, where no node is large enough for a run."""
    have = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(r.get("CPU", 0) >= threads and r.get("GPU", 0) >= gpus for r in have):
        known = ", ".join(f"{r.get('CPU', 0):g} and {r.get('GPU', 0):g}" for r in have)
        message = (
            "no node of the cluster has the %d processors and %g GPUs that a run asks for "
            "(they have %s): runs wait until one joins; see --threads, --gpus"
        )
        _LOG.warning(message, threads, gpus, known)


def _cancel_what_has_not_begun(ray: Any, going: dict[Any, Task]) -> None:
    for reference, task in going.items():
        if not has_writer(task.path):
            ray.cancel(reference)


def _absolute(task: Task) -> Task:
    return Task(task.name, task.config, task.path.resolve())


def _do(task: Task, place: _Place) -> Ended:
    """The work of a task, in a worker of the cluster."""
    if place.stop.exists():
        return Ended(task.name, "stopped", "not begun")
    if not place.may_use_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if place.data is not None:
        os.environ.setdefault(DATA_VARIABLE, place.data)
    with suppress(OSError):  # a node may lack the folder, and nothing be relative to it
        os.chdir(place.folder)
    use_threads(place.threads)
    return start_or_resume(task, place.stop.exists)


def _result(ray: Any, reference: Any, task: Task) -> Ended:
    """How a task ended, also where its workers died once too often."""
    try:
        ended: Ended = ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return Ended(task.name, "stopped", "not begun")
    except ray.exceptions.RayTaskError as error:  # a bug of ours, with its traceback
        return Ended(task.name, "failed", str(error))
    except ray.exceptions.RayError as error:
        return Ended(task.name, "failed", f"its worker died {_RETRIES + 1} times: {error}")
    return ended
