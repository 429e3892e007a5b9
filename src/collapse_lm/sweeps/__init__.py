"""Sweeps: a set of runs over values of configuration keys and seeds. No torch."""

from collapse_lm.sweeps.folder import SweepFolder, tell_sweeps
from collapse_lm.sweeps.plan import Plan, PlannedRun, plan_sweep
from collapse_lm.sweeps.progress import RunProgress, progress_of
from collapse_lm.sweeps.spec import SweepSpec, load_sweep, sweep_names, with_overrides

__all__ = [
    "Plan",
    "PlannedRun",
    "RunProgress",
    "SweepFolder",
    "SweepSpec",
    "load_sweep",
    "plan_sweep",
    "progress_of",
    "sweep_names",
    "tell_sweeps",
    "with_overrides",
]
