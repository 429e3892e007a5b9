"""The folder of a sweep: what was asked for, and a run directory per run.

OUT/sweep.yaml   OUT/runs/NAME/   OUT/logs/
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

from collapse_lm.errors import UserError
from collapse_lm.records.directory import write_atomically, writing
from collapse_lm.sweep.plan import Plan, PlannedRun, plan_sweep
from collapse_lm.sweep.spec import SweepSpec, parse_sweep
from collapse_lm.sweep.state import RunState, state_of

SPEC = "sweep.yaml"


@dataclass(frozen=True)
class SweepFolder:
    """A folder that holds the runs of one sweep."""

    path: Path

    @property
    def logs(self) -> Path:
        """What worker processes print."""
        return self.path / "logs"

    def run_path(self, run: PlannedRun) -> Path:
        """The run directory of a planned run."""
        return self.path / "runs" / run.name

    def states(self, plan: Plan) -> list[tuple[PlannedRun, RunState]]:
        """How far every run of a plan is."""
        return [(run, state_of(run, self.run_path(run))) for run in plan.runs]

    def open(self, spec: SweepSpec) -> None:
        """Make the folder, or check that it is of the same sweep (which may have grown).

        Raises:
            UserError: for a folder of something else.
        """
        if self.path.exists() and not (self.path / SPEC).is_file() and any(self.path.iterdir()):
            raise UserError.single(
                f"--out {self.path}", "a folder of something else", "a new folder, or a sweep's"
            )
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        base = Path(spec.base)
        tree = spec.model_dump(mode="json")
        tree["base"] = str(base.resolve()) if base.is_file() else spec.base
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        write_atomically(self.path / SPEC, text)


def tell_sweeps(folder: Path) -> list[str]:
    """A line for each sweep in a folder (itself included) and one level below it."""
    try:
        inside = sorted(place for place in folder.iterdir() if place.is_dir())
    except OSError:
        inside = []
    places = [place for place in (folder, *inside) if os.path.lexists(place / SPEC)]
    return [f"sweep {place}: {_tell(place)}" for place in places]


def _tell(place: Path) -> str:
    try:
        plan = plan_sweep(parse_sweep(str(place / SPEC)))
    except UserError as error:
        return f"damaged: {error.problems[0].where}: {error.problems[0].got}"
    counts = Counter(state.progress for _, state in SweepFolder(place).states(plan))
    told = ", ".join(f"{count} {progress}" for progress, count in sorted(counts.items()))
    return f"{len(plan.runs)} runs: {told}"
