"""The folder of a sweep: what was asked for, and a run directory per run.

OUT/sweep.yaml   OUT/runs/NAME/   OUT/logs/
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.config import identity
from collapse_lm.errors import Problem, UserError
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.layout import holds_run
from collapse_lm.rundir.resume import load_recorded, may_change
from collapse_lm.sweeps.plan import DIGITS, Plan, PlannedRun, plan_sweep
from collapse_lm.sweeps.progress import RunProgress, progress_of
from collapse_lm.sweeps.spec import SweepSpec, parse_sweep

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
        """The run directory of a planned run, also where an earlier release named it."""
        place = self.path / "runs" / run.name
        if holds_run(place):
            return place
        alike = place.parent.glob(f"{place.name[:-DIGITS]}*")  # another identity's digits
        return next((other for other in sorted(alike) if _is_run(other, run)), place)

    def progress(self, plan: Plan) -> list[tuple[PlannedRun, RunProgress]]:
        """How far every run of a plan is, each read with all its rows."""
        return [(run, progress_of(run, self.run_path(run))) for run in plan.runs]

    def check(self, spec: SweepSpec) -> None:
        """See that the folder is new or of the same sweep (which may have grown).

        Raises:
            UserError: for a folder of something else, or of a sweep with another base or
                other fixed values than `run.max_updates`.
        """
        where = f"--out {self.path}"
        if self.path.exists() and not self.path.is_dir():
            raise UserError.single(where, "a file", "a new folder, or a sweep's")
        if self.path.exists() and not (self.path / SPEC).is_file() and any(self.path.iterdir()):
            raise UserError.single(
                where, "a folder of something else", "a new folder, or a sweep's"
            )
        self._refuse_another(_tree(spec))

    def open(self, spec: SweepSpec) -> None:
        """Make the folder, or check that it is of the same sweep; note what is asked for.

        Raises:
            UserError: as `check`.
        """
        self.check(spec)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        tree = _tree(spec)
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        write_atomically(self.path / SPEC, text)

    def _refuse_another(self, tree: dict[str, Any]) -> None:
        """Keep runs that do not compare out of one folder."""
        try:
            before = parse_sweep(str(self.path / SPEC)).model_dump(mode="json")
        except UserError:  # no sweep yet, or a damaged file, which is written anew
            return
        fixed = {"base": (before["base"], tree["base"])} | {
            f"set.{key}": (before["set"].get(key), tree["set"].get(key))
            for key in sorted({*before["set"], *tree["set"]})
            if not may_change(key)
        }
        fix = "choose another --out"
        if not any(map(holds_run, self.path.glob("runs/*"))):
            fix += f", or remove {self.path}, which holds no run"
        problems = [
            Problem(where, _told(new), f"{_told(old)}, as in {self.path / SPEC}", fix)
            for where, (old, new) in fixed.items()
            if old != new
        ]
        if problems:
            raise UserError(problems)

    def plan(self) -> Plan:
        """The runs of the sweep as it was last asked for.

        Raises:
            UserError: for a folder without a sweep, or with a damaged one.
        """
        return plan_sweep(parse_sweep(str(self.path / SPEC)))

    def readers(self, plan: Plan) -> list[RunReader]:
        """Those runs of a plan that have begun."""
        places = (self.run_path(run) for run in plan.runs)
        return [RunReader(place) for place in places if holds_run(place)]


def _tree(spec: SweepSpec) -> dict[str, Any]:
    """What sweep.yaml holds."""
    tree = spec.model_dump(mode="json")
    tree["base"] = os.path.realpath(spec.base) if os.path.isfile(spec.base) else spec.base  # noqa: PTH113
    return tree


def _is_run(place: Path, run: PlannedRun) -> bool:
    """True where a directory holds the run that is planned, whatever its name."""
    try:
        return holds_run(place) and identity(load_recorded(place)) == identity(run.config)
    except UserError:  # a damaged one, of which nobody knows what it was
        return False


def _told(value: Any) -> str:
    return "not set" if value is None else repr(value)


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
        plan = SweepFolder(place).plan()
    except UserError as error:
        return f"damaged: {error.problems[0].where}: {error.problems[0].got}"
    counts = Counter(progress.state for _, progress in SweepFolder(place).progress(plan))
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"{len(plan.runs)} runs: {told}"
