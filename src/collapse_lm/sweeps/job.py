"""A sweep in its folder: planned, then done, then told in tables and figures."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_lm.rundir import RecordError, RunReader
from collapse_lm.sweeps.engines.base import Ended, Status, Task
from collapse_lm.sweeps.engines.choose import EngineChoice
from collapse_lm.sweeps.folder import SweepFolder
from collapse_lm.sweeps.groups import group_of
from collapse_lm.sweeps.plan import Plan, PlannedRun, check_size, plan_sweep
from collapse_lm.sweeps.progress import RunProgress
from collapse_lm.sweeps.spec import SweepSpec, name_of, read_sweep, with_overrides

if TYPE_CHECKING:
    from collapse_lm.machine.processor import Estimate
    from collapse_lm.report.sweep import SweepReport


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep, as it is after a call.

    Attributes:
        name: of its directory, or of the one that it would have.
        path: its run directory.
        values: what the sweep varies, by dotted key.
        seed: of the run.
        status: done (whatever the finding), stopped (also: not begun), busy (another
            process is writing it), or failed.
        told: the finding, or what failed.
        summary: what summary.json holds; None for a run that is not done.
    """

    name: str
    path: Path
    values: Mapping[str, Any]
    seed: int
    status: Status
    told: str
    summary: Mapping[str, Any] | None

    def _repr_html_(self) -> str | None:
        """How a notebook shows the run (see `RunReader`)."""
        return RunReader(self.path)._repr_html_()


@dataclass(frozen=True)
class SweepResult:
    """What a call did.

    Attributes:
        folder: of the sweep, with `runs`, `tables`, `figures`, `effects.json` and, where its
            runs have what the paper's sentences speak of, `claims.json`.
        runs: every run of the sweep, in its order.
        done_before: how many of them there was nothing left to do for.
    """

    folder: Path
    runs: tuple[SweptRun, ...]
    done_before: int

    @property
    def is_complete(self) -> bool:
        """True where every run has ended with a finding."""
        return all(run.status == "done" for run in self.runs)

    def _repr_html_(self) -> str:
        """How a notebook shows the sweep: a line per run."""
        from collapse_lm.report.card import sweep_card

        keys = list(dict.fromkeys(key for run in self.runs for key in run.values))
        return sweep_card(self.folder.absolute().name, keys, [vars(run) for run in self.runs])

    @property
    def was_stopped(self) -> bool:
        """True where runs were left for another call; there are no new tables then."""
        return any(run.status == "stopped" for run in self.runs)


@dataclass(frozen=True)
class SweepJob:
    """A sweep that was planned, and the folder where it is done. Making one writes nothing."""

    spec: SweepSpec
    plan: Plan
    folder: SweepFolder

    @classmethod
    def of(cls, spec: SweepSpec, folder: Path, most: int | None = None) -> "SweepJob":
        """Plan a sweep; refuse more than `most` runs.

        Raises:
            UserError: for a key or value that no configuration has; all mistakes together.
        """
        if most is not None:
            check_size(spec, most)
        return cls(spec, plan_sweep(spec), SweepFolder(folder))

    def check(self) -> None:
        """See that the folder is new or of this sweep, and write nothing.

        Raises:
            UserError: for a folder of something else.
        """
        self.folder.check(self.spec)

    def open(self) -> None:
        """Make the folder, or see that it is of this sweep.

        Raises:
            UserError: for a folder of something else.
        """
        self.folder.open(self.spec)

    def progress(self) -> list[tuple[PlannedRun, RunProgress]]:
        """How far every run is."""
        return self.folder.progress(self.plan)

    def tasks(self, progress: Iterable[tuple[PlannedRun, RunProgress]]) -> list[Task]:
        """What is left to do, given how far every run is."""
        return [
            Task(run.name, run.config, self.folder.run_path(run))
            for run, found in progress
            if found.state != "done"
        ]

    def do(
        self, tasks: Sequence[Task], engine: EngineChoice, should_stop: Callable[[], bool]
    ) -> Iterator[Ended]:
        """Do tasks, and yield each as it ends (see `EngineChoice.start`)."""
        return engine.start(tasks, self.folder.logs, should_stop)

    def result(
        self, before: Sequence[tuple[PlannedRun, RunProgress]], ended: Iterable[Ended]
    ) -> SweepResult:
        """Say what became of every run, given how far each was and how the tasks ended."""
        known = {one.name: one for one in ended}
        runs = tuple(self._swept(run, found, known.get(run.name)) for run, found in before)
        done_before = sum(found.state == "done" for _, found in before)
        return SweepResult(self.folder.path, runs, done_before)

    def _swept(self, run: PlannedRun, before: RunProgress, ended: Ended | None) -> SweptRun:
        path = self.folder.run_path(run)
        was_done: Status = "done" if before.state == "done" else "stopped"
        status = ended.status if ended else was_done
        told = ended.told if ended else before.told if status == "done" else "not begun"
        summary = _summary(path) if status == "done" else None
        return SweptRun(run.name, path, run.values, run.config.seed, status, told, summary)

    def write_report(self) -> "SweepReport":
        """Write tables, figures and effects of what has ended; claims where runs allow it.

        Last comes report.html of all runs, unless `run.report` is false for them.

        Raises:
            MachineError: where the disk does not take a file.
        """
        from collapse_lm.observers.report import report_on
        from collapse_lm.report.sweep import write_sweep

        plan, runs = self.plan, self.folder.readers(self.plan)
        varied = plan.varied
        group = group_of(varied) if varied else None
        written = write_sweep(plan.keys, group, runs, self.folder.path, len(plan.runs))
        if all(run.config.run.report for run in plan.runs):
            report_on(self.folder.path)
        return written

    def longest(self, engine: EngineChoice) -> tuple[int, "Estimate"]:
        """Runs left to do, and how long they take here at most, from a measurement now."""
        from collapse_lm.sweeps.engines.base import use_threads
        from collapse_lm.sweeps.engines.estimate import longest
        from collapse_lm.sweeps.engines.share import share_machine

        left = [(r.config, found.update) for r, found in self.progress() if found.state != "done"]
        share = share_machine(engine.jobs)
        use_threads(engine.threads or share.threads)
        return len(left), longest(left, min(share.jobs, len(left) or 1))


def plan_job(
    sweep: SweepSpec | Mapping[str, Any] | Path | str,
    out: Path | str | None = None,
    overrides: Iterable[str] = (),
    most: int | None = None,
) -> SweepJob:
    """Plan a sweep by name, path or content; by default in sweeps/NAME.

    Raises:
        UserError: for a sweep, key or value that cannot be; all mistakes together.
    """
    spec = with_overrides(read_sweep(sweep), overrides)
    folder = Path("sweeps") / name_of(sweep) if out is None else Path(out)
    return SweepJob.of(spec, folder, most)


def _summary(path: Path) -> Mapping[str, Any] | None:
    """The summary of a run; one that was damaged since is as good as none."""
    try:
        return RunReader(path).summary()
    except (RecordError, OSError):
        return None
