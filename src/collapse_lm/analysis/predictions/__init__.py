"""What was predicted before the runs (docs/predictions.md), and whether it held.

`judge` takes the name of a sweep and its runs; nothing here depends on what was found.
"""

from collapse_lm.analysis.predictions.judge import judge, sweeps
from collapse_lm.analysis.predictions.rules import Judged

__all__ = ["Judged", "judge", "sweeps"]
