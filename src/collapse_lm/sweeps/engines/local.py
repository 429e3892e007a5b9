"""Runs on this machine: a few worker processes, each with its share of the threads.

A worker does one run after the other. One that dies takes nothing with it: its run is
given to a new worker, which resumes it. Workers end by themselves when their parent is
gone.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from collapse_lm.sweeps.engines.base import Ended, Status, Task, start_or_resume, use_threads

_TRIES = 3  # of a task whose worker dies
_LOOK = 0.2  # seconds between looks at the workers
_BUSY = 5.0  # seconds before a run that another process is writing is tried again
_PATIENCE = 24  # tries of such a run


@dataclass
class _Job:
    """A task with what has become of it so far."""

    task: Task
    deaths: int = 0
    refusals: int = 0
    not_before: float = 0.0


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: _Job | None = field(default=None)


def run_locally(
    tasks: Sequence[Task],
    *,
    jobs: int,
    threads: int,
    logs: Path,
    devices: Sequence[str] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Ended]:
    """Do tasks, `jobs` at a time; yield each as it ends.

    Args:
        tasks: the runs.
        jobs: worker processes.
        threads: of each worker.
        logs: folder for what the workers print.
        devices: CUDA devices, one per worker in turn; empty leaves the choice to the runs.
        should_stop: asked several times a second; once true, running tasks end after
            their update with a checkpoint, and no other is begun.
    """
    logs.mkdir(parents=True, exist_ok=True)
    pool = _Pool(tasks, jobs, _Starter(threads, logs, devices))
    try:
        while pool.has_work():
            if should_stop():
                pool.stop()
            yield from pool.look()
    finally:
        pool.close()


class _Pool:
    """The workers, and the jobs that wait for one."""

    def __init__(self, tasks: Sequence[Task], jobs: int, start: "_Starter") -> None:
        self._waiting = deque(_Job(task) for task in tasks)
        self._start = start
        self._workers = [start(index) for index in range(min(jobs, len(tasks)))]
        self._is_stopping = False

    def has_work(self) -> bool:
        """True while a job waits or goes on."""
        return bool(self._waiting) or any(worker.job for worker in self._workers)

    def stop(self) -> None:
        """Begin no other job, and ask those that go on to end after their update."""
        if not self._is_stopping:
            self._is_stopping = True
            self._waiting.clear()
            for worker in self._workers:
                if worker.process.is_alive():
                    os.kill(worker.process.pid, signal.SIGTERM)

    def look(self) -> Iterator[Ended]:
        """Give jobs to free workers, replace dead ones, and take what has ended."""
        for index, worker in enumerate(self._workers):
            if not worker.process.is_alive():
                ended = _after_death(worker, self._waiting, may_retry=not self._is_stopping)
                if ended:
                    yield ended
                if self._waiting:  # with a job from the start, so that every death counts
                    self._workers[index] = self._start(index)
                    _give(self._workers[index], self._waiting)
            elif worker.job is None and self._waiting:
                _give(worker, self._waiting)
        yield from _collect(self._workers, self._waiting)

    def close(self) -> None:
        """End the workers; one that is still at work ends after its update."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.job is not None:  # an error of ours: nobody waits for it any more
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join()


def _give(worker: _Worker, waiting: deque[_Job]) -> None:
    """Hand the first job that may begin to a free worker."""
    for _ in range(len(waiting)):
        job = waiting.popleft()
        if job.not_before <= time.monotonic():
            worker.job = job
            with suppress(OSError):  # it has just died; the next look finds that out
                worker.pipe.send(job.task)
            return
        waiting.append(job)


def _collect(workers: Sequence[_Worker], waiting: deque[_Job]) -> Iterator[Ended]:
    """Take what the workers have sent; wait a moment for it."""
    pipes = {worker.pipe: worker for worker in workers if worker.job}
    if not pipes:
        time.sleep(_LOOK)
    for pipe in wait(list(pipes), timeout=_LOOK):
        worker = pipes[pipe]  # type: ignore[index]
        try:
            ended: Ended = worker.pipe.recv()
        except (EOFError, OSError):  # it died; the next look finds that out
            continue
        job, worker.job = worker.job, None
        if ended.status == "busy" and job is not None and job.refusals < _PATIENCE:
            job.refusals += 1
            job.not_before = time.monotonic() + _BUSY
            waiting.append(job)
        else:
            yield ended


def _after_death(worker: _Worker, waiting: deque[_Job], may_retry: bool) -> Ended | None:
    """Give the job of a dead worker another try, or tell that it failed."""
    job, worker.job = worker.job, None
    worker.pipe.close()
    if job is None:
        return None
    job.deaths += 1
    if may_retry and job.deaths < _TRIES:
        waiting.appendleft(job)
        return None
    code = worker.process.exitcode
    status: Status = "failed" if may_retry else "stopped"
    return Ended(job.task.name, status, f"its process died {job.deaths} times (exit code {code})")


@dataclass(frozen=True)
class _Starter:
    """Makes worker processes."""

    threads: int
    logs: Path
    devices: Sequence[str]

    def __call__(self, index: int) -> _Worker:
        """Start the worker with this number."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        device = self.devices[index % len(self.devices)] if self.devices else None
        log = self.logs / f"worker{index}.log"
        process = context.Process(
            target=_work, args=(theirs, self.threads, device, log, os.getpid()), daemon=True
        )
        with _without_the_callers_script():
            process.start()
        theirs.close()
        return _Worker(process, ours)


@contextmanager
def _without_the_callers_script() -> Iterator[None]:
    """Keep a worker from running the script that asks for the sweep once more.

    A process that is spawned imports the file of `__main__`, for functions that may be
    defined there; a worker needs none of them, and a script without a guard would begin
    its sweep again in every worker.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


# --- in the worker -----------------------------------------------------------------------------


class _Stop:
    """SIGTERM asks for an end after the update; a second one ends at once."""

    def __init__(self, parent: int) -> None:
        self._parent, self._is_asked = parent, False
        for name in ("SIGINT", "SIGHUP"):  # the terminal's: the parent passes them on
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._receive)

    def __call__(self) -> bool:
        return self._is_asked or os.getppid() != self._parent

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._is_asked:
            raise KeyboardInterrupt
        self._is_asked = True


def _work(pipe: Connection, threads: int, device: str | None, log: Path, parent: int) -> None:
    """Do tasks until the pipe closes."""
    stop = _Stop(parent)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    with log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as output:
        sys.stdout = sys.stderr = output
        use_threads(threads)
        while True:
            try:
                task: Task = pipe.recv()
            except (EOFError, OSError):
                return
            output.write(f"--- {task.name}\n")
            pipe.send(_guarded(task, stop))


def _guarded(task: Task, stop: _Stop) -> Ended:
    """Do a task; a bug of ours is told, with its traceback in the log."""
    try:
        return start_or_resume(task, stop)
    except KeyboardInterrupt:
        return Ended(task.name, "stopped", "ended at once")
    except Exception as error:
        traceback.print_exc()
        return Ended(task.name, "failed", f"{type(error).__name__}: {error}")
