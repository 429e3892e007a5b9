"""Which engine does the tasks of a sweep, and with what of this machine or of a cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from collapse_lm.errors import Problem, UserError
from collapse_lm.sweeps.engines.base import Ended, Task

LOCAL, RAY = "local", "ray"
ENGINES = (LOCAL, RAY)


@dataclass(frozen=True)
class EngineChoice:
    """An engine with its options; making one checks them.

    Args:
        engine: local or ray.
        jobs: runs at a time (local); None means one per GPU, else 1.
        threads: of each run; None means this machine's over the jobs.
        address: of a Ray cluster; None starts Ray on this machine.
        gpus: GPUs of each run on Ray; a fraction lets runs share one.

    Raises:
        UserError: for an engine that does not exist, numbers that cannot be, and options of
            the other engine; all mistakes together.
    """

    engine: str = LOCAL
    jobs: int | None = None
    threads: int | None = None
    address: str | None = None
    gpus: float = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        problems = [*_numbers(self), *_of_the_other_engine(self)]
        if problems:
            raise UserError(problems)

    def start(
        self, tasks: Sequence[Task], logs: Path, should_stop: Callable[[], bool]
    ) -> Iterator[Ended]:
        """Do tasks; yield each as it ends.

        Args:
            tasks: the runs.
            logs: folder for what worker processes print.
            should_stop: once true, running tasks end after their update with a
                checkpoint, and no other is begun.

        Raises:
            UserError: when Ray is not installed or nothing answers at the address.
        """
        if not tasks:
            return iter(())
        from collapse_lm.sweeps.engines.share import share_machine

        share = share_machine(self.jobs)
        threads = self.threads or share.threads
        if self.engine == RAY:
            from collapse_lm.sweeps.engines.on_ray import run_on_ray

            return run_on_ray(
                tasks,
                threads=threads,
                gpus=self.gpus,
                address=self.address,
                should_stop=should_stop,
            )
        from collapse_lm.sweeps.engines.local import run_locally

        return run_locally(
            tasks,
            jobs=share.jobs,
            threads=threads,
            logs=logs,
            devices=share.devices,
            should_stop=should_stop,
        )


def _numbers(choice: EngineChoice) -> list[Problem]:
    counts = {"jobs": choice.jobs, "threads": choice.threads}
    problems = [
        Problem(name, repr(value), "a whole number from 1 on, or None, which chooses")
        for name, value in counts.items()
        if value is not None and not (isinstance(value, int) and value >= 1)
    ]
    if not choice.gpus >= 0:
        problems.append(Problem("gpus", repr(choice.gpus), "a number from 0 on"))
    return problems


def _of_the_other_engine(choice: EngineChoice) -> list[Problem]:
    if choice.engine not in ENGINES:
        return [Problem("engine", repr(choice.engine), f"one of {', '.join(ENGINES)}")]
    if choice.engine == LOCAL and (choice.address or choice.gpus):
        return [Problem("address, gpus", "options of Ray", "the engine ray", "--engine ray")]
    if choice.engine == RAY and choice.jobs:
        fix = "--engine local; with Ray, --threads says how many fit on a node"
        return [Problem("jobs", "an option of the local engine", "the engine local", fix)]
    return []
