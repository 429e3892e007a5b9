"""A reproduction in its folder: its sweeps planned, done, and told together.

OUT/learning-rate/   OUT/size/   OUT/ladder/   OUT/figures/   OUT/tables/   OUT/claims.json
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from collapse_lm.corpora.corpus import list_corpora
from collapse_lm.errors import UserError
from collapse_lm.pretraining.recipe import Recipe
from collapse_lm.reproduction.plan import LADDER, Scale, Target, groups_of, sweeps_for
from collapse_lm.sweeps import SweepFolder, SweepSpec, with_overrides
from collapse_lm.sweeps.check import require_inputs
from collapse_lm.sweeps.engines.choose import EngineChoice
from collapse_lm.sweeps.groups import SIZE
from collapse_lm.sweeps.job import SweepJob

if TYPE_CHECKING:
    from collapse_lm.report.reproduction import ReproductionReport

Kind = TypeVar("Kind", Target, Scale)


@dataclass(frozen=True)
class ReproductionJob:
    """What was asked for, planned. Making one writes nothing.

    Attributes:
        what: figure, table or all.
        scale: embedded or paper.
        out: folder of the results.
        sweeps: by group of runs.
        ladder: folder of the models to train before the sweeps; None where none is needed.
        overrides: that every run got.
    """

    what: Target
    scale: Scale
    out: Path
    sweeps: Mapping[str, SweepJob]
    ladder: Path | None
    overrides: tuple[str, ...]

    def check(self) -> None:
        """See that the folders are new or of these sweeps, and write nothing.

        Raises:
            UserError: for a folder of something else, or of runs that do not compare.
        """
        for job in self.sweeps.values():
            job.check()

    def open(self) -> None:
        """Make the folders, or see that they are of these sweeps.

        Raises:
            UserError: for a folder of something else, or of runs that do not compare.
        """
        for job in self.sweeps.values():
            job.open()

    def require_inputs(self, engine: EngineChoice) -> None:
        """See that models and texts can be had, the ladder aside, which is made here.

        Raises:
            UserError: where no run can be done without one that is missing.
        """
        made = {str((self.ladder / size).resolve()) for size in LADDER} if self.ladder else set()
        require_inputs(self.sweeps.values(), engine, made)

    def recipe(self) -> Recipe:
        """Of the ladder."""
        return Recipe(sizes=LADDER)

    def lacks_models(self) -> bool:
        """True where models must be trained before the runs of Figure 3 can begin."""
        return self.ladder is not None and not all((self.ladder / s).is_dir() for s in LADDER)

    def missing(self) -> int:
        """How many runs are left to do."""
        return sum(len(job.tasks(job.progress())) for job in self.sweeps.values())

    def write_report(self) -> "ReproductionReport":
        """Draw, tabulate and judge what this call and earlier ones measured.

        Raises:
            MachineError: where the disk does not take a file.
        """
        from collapse_lm.observers.report import report_on
        from collapse_lm.report.reproduction import write_reproduction

        folders = {group: _folder(self.out, group) for group in groups_of(Target.all)}
        known = {group: folder for group, folder in folders.items() if folder.path.is_dir()}
        plans = {group: folder.plan() for group, folder in known.items()}
        groups = {group: known[group].readers(plan) for group, plan in plans.items()}
        planned = {group: len(plan.runs) for group, plan in plans.items()}
        written = write_reproduction(groups, self.out, planned)
        if all(run.config.run.report for plan in plans.values() for run in plan.runs):
            report_on(self.out)
        return written


def plan_reproduction(
    what: str = Target.all,
    scale: str = Scale.embedded,
    *,
    models: Path | str | None = None,
    seeds: int | None = None,
    out: Path | str = "reproduction",
    overrides: Iterable[str] = (),
) -> ReproductionJob:
    """Plan every run that a figure or table needs (see `reproduce` for the arguments).

    Raises:
        UserError: for a target, scale, number or value that cannot be.
    """
    target, chosen = _member(Target, "what", what), _member(Scale, "scale", scale)
    folder = Path(out)
    words = overrides if isinstance(overrides, str) else tuple(overrides)  # a text is refused below
    is_embedded = chosen is Scale.embedded
    place = Path(models) if models is not None else folder / "ladder" if is_embedded else None
    specs = sweeps_for(target, chosen, place, _further_corpora())
    sweeps = {
        group: SweepJob.of(
            with_overrides(_with_seeds(spec, seeds), words), _folder(folder, group).path
        )
        for group, spec in specs.items()
    }
    needs_ladder = is_embedded and SIZE in sweeps and models is None
    return ReproductionJob(
        target, chosen, folder, sweeps, place if needs_ladder else None, tuple(words)
    )


def _member(kind: type[Kind], where: str, word: str) -> Kind:
    try:
        return kind(word)
    except ValueError:
        raise UserError.single(where, repr(word), f"one of {', '.join(kind)}") from None


def _folder(out: Path, group: str) -> SweepFolder:
    return SweepFolder(out / group.replace(" ", "-"))


def _with_seeds(spec: SweepSpec, seeds: int | None) -> SweepSpec:
    if seeds is None:
        return spec
    if not isinstance(seeds, int) or seeds < 1:
        raise UserError.single("seeds", repr(seeds), "how many, from 1 on")
    return spec.model_copy(update={"seeds": list(range(seeds))})


def _further_corpora() -> list[str]:
    """The paper's validation texts, where they are on this machine."""
    ready = {info.name for info in list_corpora() if info.ready}
    return [name for name in ("wikitext2", "ptb") if name in ready]
