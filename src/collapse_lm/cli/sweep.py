"""`collapse-lm sweep`: parse, call, and show how far every run is."""

import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
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
from collapse_lm.rundir.layout import REPORT
from collapse_lm.sweeps import sweep_names
from collapse_lm.sweeps.check import require_inputs, unmade_models
from collapse_lm.sweeps.engines.choose import EngineChoice
from collapse_lm.sweeps.job import SweepJob, plan_job
from collapse_lm.sweeps.plan import MANY
from collapse_lm.sweeps.watch import Watch

if TYPE_CHECKING:
    from collapse_lm.machine.processor import Estimate
    from collapse_lm.sweeps.engines import Ended

_ROWS = 20  # runs that the live table shows
_RANK = {"running": 0, "unfinished": 1, "damaged": 2, "missing": 3, "done": 4}


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
    job = plan_job(spec, out, settings or [], most=None if yes or dry_run else MANY)
    choice = EngineChoice(engine, jobs, threads, address, gpus)
    job.check()
    later = unmade_models([job]) if dry_run else set()
    require_inputs([job], choice, later)
    if dry_run:
        show_plan(job, choice, may_measure=not later)
        return
    job.open()
    stop = StopRequest()
    stop.is_running = True  # a first signal is passed on to the runs
    with stop:
        failed = follow(job, choice, stop)
    if stop.signal_number:
        sys.exit(128 + stop.signal_number)
    _write(job)
    if failed:
        sys.exit(1)


def _write(job: SweepJob) -> None:
    """Write what the runs show, and show the gist of it."""
    from collapse_lm.report.effects_page import effect_lines

    report, folder = job.write_report(), job.folder.path
    for line in effect_lines(report.effects):
        print(printable(line))
    show_not_drawn(report.not_drawn)
    pages = [folder / "effects.md", *([folder / "claims.md"] if report.claims else [])]
    places = f"figures {folder / 'figures'}  tables {folder / 'tables'}  "
    print(printable(places + "  ".join(map(str, pages))))
    show_report(folder)


def show_report(folder: Path) -> None:
    """Say where the page of all runs is, where there is one."""
    if (folder / REPORT).is_file():
        print(printable(f"report {folder / REPORT}"))


def show_not_drawn(reasons: Mapping[str, str]) -> None:
    """Say which figures are not there, and why."""
    for name, reason in reasons.items():
        print(printable(f"{name} is not drawn: {reason}"))


def follow(job: SweepJob, engine: EngineChoice, stop: StopRequest) -> int:
    """Do what is missing, show it, and return how many runs failed."""
    before = job.progress()
    tasks = job.tasks(before)
    console, statuses, failures = Console(), Counter[str](), dict[str, str]()
    print(f"{len(before)} runs, {len(before) - len(tasks)} done before; {job.folder.path}")
    watch = Watch(job.folder, before)
    live = Live(get_renderable=lambda: board(watch), console=console, refresh_per_second=0.5)
    with live if console.is_terminal else nullcontext():
        for ended in job.do(tasks, engine, stop):
            statuses[ended.status] += 1
            number = f"[{statuses.total()}/{len(tasks)}]"
            first = failures.setdefault(ended.told, number) if ended.status == "failed" else number
            _show_ended(console, ended, number, first)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
    print(f"this time: {counts or 'nothing to do'}")
    return statuses["failed"] + statuses["busy"]


def _show_ended(console: Console, ended: "Ended", number: str, first: str) -> None:
    """Show how a run ended; of equal failures the later ones name the first."""
    told = ended.told if first == number else f"as {first}"
    line = f"{number} {ended.name}: {ended.status}, {told}"
    console.print(Text(printable(line, keep_newlines=True)), soft_wrap=True)


def board(watch: Watch) -> Table:
    """Show what is running, then what is next; the last line counts all."""
    found = watch.look()
    table = Table(box=None, expand=True)
    for column in ("run", "state", "update", "told"):
        table.add_column(column, overflow="fold")  # a name that is cut names no run
    for run, progress in sorted(found, key=lambda pair: _RANK[pair[1].state])[:_ROWS]:
        cells = (run.name, progress.state, f"{progress.update}/{run.config.run.max_updates}")
        table.add_row(*map(Text, (*map(printable, cells), one_line(progress.told, 60))))
    counts = Counter(progress.state for _, progress in found)
    table.add_row(Text(", ".join(f"{n} {name}" for name, n in sorted(counts.items())), "bold"))
    return table


def show_plan(job: SweepJob, engine: EngineChoice, *, may_measure: bool = True) -> None:
    """Print every run with its state, and how long what is missing takes here at most.

    Args:
        job: the sweep.
        engine: that would do the runs.
        may_measure: false where their models are yet to be made.
    """
    for run, found in job.progress():
        print(f"{printable(run.name)}  {found.state}  {found.update} updates")
    count = len(job.plan.runs)
    if not may_measure:
        print(f"{count} runs, measured once their models are made")
        return
    left, estimate = job.longest(engine)
    show_estimate(f"{count} runs, {left} to do: at most", estimate)
    print("(measured for one run alone; one that collapses ends before run.max_updates)")


def show_estimate(what: str, found: "Estimate") -> None:
    """Print how long something takes, on which processor, and what the number suffers from."""
    print(f"{what} about {_duration(found.seconds)}, measured now on {printable(found.processor)}")
    if found.warning:
        print(f"warning: {found.warning}")


def _duration(seconds: float) -> str:
    """Hours and minutes; below ten minutes, minutes and seconds, as a test of a setup takes."""
    if seconds < 600:
        minutes, rest = divmod(max(1, round(seconds)), 60)
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min"
