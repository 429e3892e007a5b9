"""`collapse_lm.reproduce`: what the command does, for Python."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collapse_lm.pretraining.recipe import Recipe
from collapse_lm.reproduction.calls import Call
from collapse_lm.reproduction.job import ReproductionJob, plan_reproduction
from collapse_lm.sweeps.api import OnEnd, SweepResult, do_job
from collapse_lm.sweeps.engines.choose import EngineChoice

if TYPE_CHECKING:
    from collapse_lm.analysis.claims.verdicts import Claim


@dataclass(frozen=True)
class ReproductionResult:
    """What a call did.

    Attributes:
        folder: of the results: figures/, tables/, table1.txt, claims.json.
        sweeps: "learning rate" and "size" -> what became of their runs.
        claims: every sentence of the paper that can be tested, with its verdict; empty where
            the call was stopped.
    """

    folder: Path
    sweeps: "Mapping[str, SweepResult]"
    claims: "tuple[Claim, ...]"

    def _repr_html_(self) -> str:
        """How a notebook shows the reproduction: its sweeps."""
        return "".join(sweep._repr_html_() for sweep in self.sweeps.values())

    @property
    def is_complete(self) -> bool:
        """True where every run has ended with a finding."""
        return bool(self.claims) and all(sweep.is_complete for sweep in self.sweeps.values())


def reproduce(
    what: str = "all",
    scale: str = "embedded",
    *,
    models: Path | str | None = None,
    seeds: int | None = None,
    out: Path | str = "reproduction",
    overrides: Iterable[str] = (),
    engine: str = "local",
    jobs: int | None = None,
    threads: int | None = None,
    address: str | None = None,
    gpus: float = 0,
    should_stop: Callable[[], bool] = lambda: False,
    on_end: OnEnd | None = None,
) -> ReproductionResult:
    """Do every run that a figure or table of the paper needs, draw it, and judge the claims.

    The same call again finishes only what is missing. Figure 3 at embedded scale trains its
    models first, in this process.

    Args:
        what: "table1", "fig2", "fig3", "fig4" or "all".
        scale: "embedded" for the packaged model and text, "paper" for GPT-2 and Table 2.
        models: folder of gpt2, gpt2-medium, ... (paper; by default from the hub), or of a
            ladder (embedded; by default it is trained in `out`).
        seeds: of each group of runs, from 0; by default as planned for the scale.
        out: folder of the results.
        overrides: `key=value` strings that every run gets.
        engine: as for `sweep`, like jobs, threads, address and gpus.
        jobs: see `sweep`.
        threads: see `sweep`.
        address: see `sweep`.
        gpus: see `sweep`.
        should_stop: as for `sweep`; also ends the training of models (finished ones stay).
        on_end: called with each run that ended in this call.

    Returns:
        The folder, what became of every run, and the claims.

    Raises:
        UserError: for a target, scale or option that cannot be, a folder of something
            else, or a model or text that no run can do without, before anything was created.
        MachineError: where the disk does not take a file.
    """
    choice = EngineChoice(engine, jobs, threads, address, gpus)
    job = plan_reproduction(what, scale, models=models, seeds=seeds, out=out, overrides=overrides)
    job.require_inputs(choice)
    job.open()
    return _do(job, choice, _as_command(job, models, seeds, choice), should_stop, on_end)


def _do(
    job: ReproductionJob,
    engine: EngineChoice,
    words: Sequence[str],
    should_stop: Callable[[], bool],
    on_end: OnEnd | None,
) -> ReproductionResult:
    """Train the ladder, do the sweeps, write and note the call, each unless it was stopped."""
    call = Call.begin(job, words)
    is_stopped = job.ladder is not None and not train_ladder(job.recipe(), job.ladder, should_stop)
    sweeps: dict[str, SweepResult] = {}
    for group, sweep in job.sweeps.items():
        if not is_stopped:
            sweeps[group] = do_job(sweep, engine, should_stop, on_end)
            is_stopped = sweeps[group].was_stopped
    claims = () if is_stopped else job.write_report().claims
    runs = [run for result in sweeps.values() for run in result.runs]
    call.note(sum(run.status in {"failed", "busy"} for run in runs))
    return ReproductionResult(job.out, sweeps, claims)


def _as_command(
    job: ReproductionJob,
    models: Path | str | None,
    seeds: int | None,
    engine: EngineChoice,
) -> list[str]:
    """The words of the command that does the same, for calls.jsonl."""
    known = {"scale": job.scale, "models": models, "seeds": seeds, "out": job.out, **asdict(engine)}
    given = {key: value for key, value in known.items() if value}
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    return ["reproduce", str(job.what), *words, *(w for o in job.overrides for w in ("--set", o))]


class _StoppedError(Exception):
    """The training of the ladder was asked to end."""


def train_ladder(recipe: Recipe, out: Path, should_stop: Callable[[], bool]) -> bool:
    """Train the models of a recipe; False where that was stopped, which leaves whole ones.

    Raises:
        UserError: for a folder in use for something else.
        MachineError: where the disk does not take a model.
    """
    from collapse_lm.pretraining.ladder import pretrain_ladder

    def ask(*step: object) -> None:
        if should_stop():
            raise _StoppedError

    try:
        ask()
        pretrain_ladder(recipe, out, on_step=ask)
    except _StoppedError:
        return False
    return True
