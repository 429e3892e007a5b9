"""Where the runs of a sweep are done: on this machine, or on a Ray cluster.

An engine takes tasks and yields how each one ended; what a run leaves is in its run
directory and nowhere else, so that engines cannot differ in their results.
"""

from collapse_lm.sweeps.engines.base import Ended, Task
from collapse_lm.sweeps.engines.local import run_locally

__all__ = ["Ended", "Task", "run_locally"]
