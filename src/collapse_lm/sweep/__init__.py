"""Sweeps: a set of runs over values of configuration keys and seeds. No torch."""

from collapse_lm.sweep.folder import SweepFolder, tell_sweeps
from collapse_lm.sweep.plan import Plan, PlannedRun, plan_sweep
from collapse_lm.sweep.spec import SweepSpec, load_sweep, sweep_names, with_overrides
from collapse_lm.sweep.state import RunState, state_of

__all__ = [
    "Plan",
    "PlannedRun",
    "RunState",
    "SweepFolder",
    "SweepSpec",
    "load_sweep",
    "plan_sweep",
    "state_of",
    "sweep_names",
    "tell_sweeps",
    "with_overrides",
]
