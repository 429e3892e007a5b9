"""`collapse-lm sweep`: plan, estimate, do, and show how far every run is."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from collapse_lm._util.printable import one_line, printable
from collapse_lm.cli import options
from collapse_lm.cli.options import Engine
from collapse_lm.cli.stopping import StopRequest
from collapse_lm.errors import UserError
from collapse_lm.sweeps import (
    Plan,
    PlannedRun,
    RunState,
    SweepFolder,
    load_sweep,
    plan_sweep,
    state_of,
    sweep_names,
    with_overrides,
)
from collapse_lm.sweeps.plan import MANY, check_size

if TYPE_CHECKING:
    from collapse_lm.sweeps.engines import Ended

    Start = Callable[..., Iterator[Ended]]


_ROWS = 20  # runs that the live table shows


def sweep(
    spec: Annotated[
        str,
        typer.Argument(metavar="SPEC", help=f"One of {', '.join(sweep_names())}; or a YAML file"),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep, new or its own.")] = None,
    jobs: options.Jobs = None,
    threads: options.Threads = None,
    engine: options.ChosenEngine = Engine.local,
    address: options.Address = None,
    gpus: options.Gpus = 0,
    settings: options.SettingsOfAll = None,
    dry_run: options.DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help=f"Start more than {MANY} runs.")] = False,
) -> None:
    """Do a set of runs; the same command again finishes only what is missing."""
    asked = with_overrides(load_sweep(spec), settings or [])
    if not (yes or dry_run):
        check_size(asked, MANY)
    plan = plan_sweep(asked)
    folder = SweepFolder(out or Path("sweeps") / Path(spec).stem)
    if dry_run:
        show_plan(plan, folder, jobs, threads)
        return
    start = choose_engine(engine, jobs, threads, address, gpus, folder)
    folder.open(asked)
    stop = StopRequest()
    stop.is_running = True  # a first signal is passed on to the runs
    with stop:
        failed = do_plan(plan, folder, start, stop)
    if stop.signal_number:
        sys.exit(128 + stop.signal_number)
    _report(plan, folder)
    if failed:
        sys.exit(1)


def _report(plan: Plan, folder: SweepFolder) -> None:
    """Draw and tabulate what the runs of a plan show, and say where it is."""
    from collapse_lm.report.reproduction import write_sweep

    has_figures = write_sweep(plan.varied, folder.readers(plan), folder.path, len(plan.runs))
    told = f"tables {folder.path / 'tables'}"
    more = f"figures {folder.path / 'figures'}  {folder.path / 'claims.md'}  "
    print(printable(more + told if has_figures else told))


def choose_engine(
    engine: Engine,
    jobs: int | None,
    threads: int | None,
    address: str | None,
    gpus: float,
    folder: SweepFolder,
) -> "Start":
    """The chosen engine with its options, as a function of tasks and a stop request.

    Raises:
        UserError: for options of Ray with the local engine.
    """
    if engine is Engine.local and (address or gpus):
        raise UserError.single("--address, --gpus", "--engine local", "--engine ray")
    if engine is Engine.ray and jobs:
        fix = "--threads says how many fit on a node"
        raise UserError.single("--jobs", "--engine ray", "--engine local", fix)
    from collapse_lm.sweeps.engines.share import share_machine

    share = share_machine(jobs)
    count = threads or share.threads
    if engine is Engine.ray:
        from collapse_lm.sweeps.engines.on_ray import run_on_ray

        return partial(run_on_ray, threads=count, gpus=gpus, address=address)
    from collapse_lm.sweeps.engines import run_locally

    devices, logs = share.devices, folder.logs
    return partial(run_locally, jobs=share.jobs, threads=count, devices=devices, logs=logs)


def do_plan(plan: Plan, folder: SweepFolder, start: "Start", stop: StopRequest) -> int:
    """Do what is missing, show it, and return how many runs failed."""
    from collapse_lm.sweeps.engines import Task

    tasks = [
        Task(run.name, run.config, folder.run_path(run))
        for run, state in folder.states(plan)
        if state.progress != "done"
    ]
    console, statuses = Console(), Counter[str]()
    print(f"{len(plan.runs)} runs, {len(plan.runs) - len(tasks)} done before; {folder.path}")
    board = Board(plan, folder)
    live = Live(get_renderable=board.table, console=console, refresh_per_second=0.5)
    with live if console.is_terminal else nullcontext():
        for ended in start(tasks, should_stop=stop):
            statuses[ended.status] += 1
            number = f"[{statuses.total()}/{len(tasks)}]"
            line = f"{number} {ended.name}: {ended.status}, {ended.told}"
            console.print(Text(printable(line, keep_newlines=True)), soft_wrap=True)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
    print(f"this time: {counts or 'nothing to do'}")
    return statuses["failed"] + statuses["busy"]


class Board:
    """The live table; what is done is read once."""

    def __init__(self, plan: Plan, folder: SweepFolder) -> None:
        self._plan, self._folder = plan, folder
        self._done: dict[str, RunState] = {}

    def table(self) -> Table:
        """Show what is running, then what is next; the last line counts all."""
        states = [(run, self._state(run)) for run in self._plan.runs]
        table = Table("run", "state", "update", "told", box=None, expand=True)
        rank = {"running": 0, "unfinished": 1, "damaged": 2, "missing": 3, "done": 4}
        for run, state in sorted(states, key=lambda pair: rank[pair[1].progress])[:_ROWS]:
            cells = (run.name, state.progress, f"{state.update}/{run.config.run.max_updates}")
            table.add_row(*map(Text, (*map(printable, cells), one_line(state.told, 60))))
        counts = Counter(state.progress for _, state in states)
        table.add_row(Text(", ".join(f"{n} {name}" for name, n in sorted(counts.items())), "bold"))
        return table

    def _state(self, run: PlannedRun) -> RunState:
        state = self._done.get(run.name) or state_of(run, self._folder.run_path(run))
        if state.progress == "done":
            self._done[run.name] = state
        return state


def show_plan(
    plan: Plan,
    folder: SweepFolder,
    jobs: int | None,
    threads: int | None,
    *,
    may_measure: bool = True,
) -> None:
    """Print every run with its state, and how long what is missing takes here at most."""
    from collapse_lm.sweeps.engines.base import use_threads
    from collapse_lm.sweeps.engines.estimate import longest_seconds
    from collapse_lm.sweeps.engines.share import share_machine

    states = folder.states(plan)
    for run, state in states:
        print(f"{printable(run.name)}  {state.progress}  {state.update} updates")
    if not may_measure:
        print(f"{len(states)} runs; their models are made first (`collapse-lm pretrain`)")
        return
    left = [(run.config, state.update) for run, state in states if state.progress != "done"]
    share = share_machine(jobs)
    use_threads(threads or share.threads)
    hours, rest = divmod(round(longest_seconds(left) / min(share.jobs, len(left) or 1) / 60), 60)
    print(f"{len(states)} runs, {len(left)} to do: at most about {hours} h {rest:02} min")
    print("(measured here now, for one run alone; one that collapses ends before run.max_updates)")
