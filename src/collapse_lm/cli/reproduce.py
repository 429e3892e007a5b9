"""`collapse-lm reproduce`: the figures and the table of the paper, with one command."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from collapse_lm._util.files import writing
from collapse_lm._util.printable import printable
from collapse_lm.cli import options
from collapse_lm.cli.options import Engine
from collapse_lm.cli.stopping import StopRequest
from collapse_lm.cli.sweep import choose_engine, do_plan, show_plan
from collapse_lm.corpora.corpus import list_corpora
from collapse_lm.reproduction.plan import LADDER, SIZE, Scale, Target, groups_of, sweeps_for
from collapse_lm.sweeps import SweepFolder, SweepSpec, plan_sweep, with_overrides


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
    ladder = models or out / "ladder"
    chosen = ladder if scale is Scale.embedded else models
    asked = {
        group: with_overrides(_with_seeds(spec, seeds), settings or [])
        for group, spec in sweeps_for(what, scale, chosen, _further_corpora()).items()
    }
    plans = {group: plan_sweep(spec) for group, spec in asked.items()}
    folders = {group: _folder(out, group) for group in asked}
    needs_ladder = scale is Scale.embedded and SIZE in asked and models is None
    if dry_run:
        is_built = all((ladder / size).is_dir() for size in LADDER)
        for group, plan in plans.items():
            may_measure = group != SIZE or not needs_ladder or is_built
            show_plan(plan, folders[group], jobs, threads, may_measure=may_measure)
        return
    starts = {
        group: choose_engine(engine, jobs, threads, address, gpus, folder)
        for group, folder in folders.items()
    }
    for group, folder in folders.items():
        folder.open(asked[group])
    began, clock = datetime.now(UTC), time.monotonic()
    missing = sum(s.progress != "done" for g, p in plans.items() for _, s in folders[g].states(p))
    if needs_ladder:
        _pretrain(ladder)
    stop = StopRequest()
    stop.is_running = True
    failed = 0
    with stop:
        for group, plan in plans.items():
            if not stop.signal_number:
                failed += do_plan(plan, folders[group], starts[group], stop)
    if not stop.signal_number:
        _write(out)
    runs = {"runs": sum(len(plan.runs) for plan in plans.values()), "missing_before": missing}
    ended = {"failed": failed, "signal": stop.signal_number or None}
    _note_call(out, {"what": what, "scale": scale, **runs, **ended}, began, clock)
    if stop.signal_number:
        sys.exit(128 + stop.signal_number)
    if failed:
        sys.exit(1)


def _folder(out: Path, group: str) -> SweepFolder:
    return SweepFolder(out / group.replace(" ", "-"))


def _with_seeds(spec: SweepSpec, seeds: int | None) -> SweepSpec:
    return spec if seeds is None else spec.model_copy(update={"seeds": list(range(seeds))})


def _further_corpora() -> list[str]:
    """The paper's validation texts, where they are on this machine."""
    ready = {info.name for info in list_corpora() if info.ready}
    return [name for name in ("wikitext2", "ptb") if name in ready]


def _pretrain(ladder: Path) -> None:
    """Make the models of Figure 3, unless they are there."""
    from collapse_lm.cli.pretrain import pretrain

    pretrain(ladder, sizes=",".join(LADDER))


def _write(out: Path) -> None:
    """Draw and judge what this call and earlier ones measured, and say where it is."""
    from collapse_lm.report.reproduction import write_reproduction

    folders = {group: _folder(out, group) for group in groups_of(Target.all)}
    known = {group: folder for group, folder in folders.items() if folder.path.is_dir()}
    plans = {group: folder.plan() for group, folder in known.items()}
    groups = {group: known[group].readers(plan) for group, plan in plans.items()}
    planned = {group: len(plan.runs) for group, plan in plans.items()}
    for claim in write_reproduction(groups, out, planned):
        print(printable(f"{claim.verdict:>13}  {claim.statement.sentence}"))
    print(printable(f"figures {out / 'figures'}  tables {out / 'tables'}  {out / 'claims.md'}"))


def _note_call(out: Path, call: dict[str, Any], began: datetime, clock: float) -> None:
    """Add a line to OUT/calls.jsonl: what this call did, when, with which code, how long."""
    from collapse_lm.rundir.manifest import git_commit, package_version

    call |= {"words": sys.argv[1:], "started": began.isoformat(timespec="seconds")}
    call |= {"seconds": round(time.monotonic() - clock, 1), "git_commit": git_commit()}
    call |= {"version": package_version("collapse-lm")}
    with writing(out / "calls.jsonl"), (out / "calls.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")
