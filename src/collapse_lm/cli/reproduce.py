"""`collapse-lm reproduce`: the figures and the table of the paper, with one command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from collapse_lm._util.printable import printable
from collapse_lm.cli import options
from collapse_lm.cli.options import Engine
from collapse_lm.cli.pretrain import train_and_show
from collapse_lm.cli.stopping import StopRequest
from collapse_lm.cli.sweep import follow, show_estimate, show_not_drawn, show_plan, show_report
from collapse_lm.reproduction.calls import Call
from collapse_lm.reproduction.job import ReproductionJob, plan_reproduction
from collapse_lm.reproduction.plan import Scale, Target
from collapse_lm.sweeps.engines.choose import EngineChoice
from collapse_lm.sweeps.groups import SIZE


def reproduce(
    what: Annotated[Target, typer.Argument(help="Figure, table, or all.")] = Target.all,
    scale: Annotated[
        Scale, typer.Option(help="embedded: packaged model and text. paper: GPT-2, Table 2.")
    ] = Scale.embedded,
    models: Annotated[
        Path | None,
        typer.Option(help="Folder of gpt2, gpt2-medium, ... (paper) or of a ladder (embedded)."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds of each group of runs, from 0.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("reproduction"),
    jobs: options.Jobs = None,
    threads: options.Threads = None,
    engine: options.ChosenEngine = Engine.local,
    address: options.Address = None,
    gpus: options.Gpus = 0,
    settings: options.SettingsOfAll = None,
    dry_run: options.DryRun = False,
) -> None:
    """Do every run that a figure or table of the paper needs, draw it, and judge the claims."""
    job = plan_reproduction(
        what, scale, models=models, seeds=seeds, out=out, overrides=settings or []
    )
    choice = EngineChoice(engine, jobs, threads, address, gpus)
    job.check()
    job.require_inputs(choice)
    if dry_run:
        _show_plans(job, choice)
        return
    job.open()
    call = Call.begin(job, sys.argv[1:])
    if job.ladder is not None:
        train_and_show(job.recipe(), job.ladder)
    _do(job, choice, call)


def _show_plans(job: ReproductionJob, choice: EngineChoice) -> None:
    """Print what is to be done and how long it takes: models that come first, then the runs."""
    lacks_models = job.lacks_models()
    if lacks_models and job.ladder is not None:
        from collapse_lm.pretraining.estimate import sizes_to_make, training_time

        sizes = sizes_to_make(job.recipe(), job.ladder)
        names = ", ".join(map(str, sizes))
        show_estimate(f"{len(sizes)} models first ({names}):", training_time(job.recipe(), sizes))
    for group, sweep in job.sweeps.items():
        show_plan(sweep, choice, may_measure=group != SIZE or not lacks_models)


def _do(job: ReproductionJob, choice: EngineChoice, call: Call) -> None:
    """Do the sweeps, write and note; end the process as they ended."""
    stop = StopRequest()
    stop.is_running = True
    failed = 0
    with stop:
        for sweep in job.sweeps.values():
            if not stop.signal_number:
                failed += follow(sweep, choice, stop)
    if not stop.signal_number:
        _write(job)
    call.note(failed, stop.signal_number or None)
    if stop.signal_number:
        sys.exit(128 + stop.signal_number)
    if failed:
        sys.exit(1)


def _write(job: ReproductionJob) -> None:
    report, out = job.write_report(), job.out
    print(report.judged_on or "no run has ended, so nothing is judged")
    for claim in report.claims if report.judged_on else ():
        print(printable(f"{claim.verdict:>13}  {claim.statement.sentence}"))
    show_not_drawn(report.not_drawn)
    print(printable(f"figures {out / 'figures'}  tables {out / 'tables'}  {out / 'claims.md'}"))
    show_report(out)
