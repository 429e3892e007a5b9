"""Results that are small enough for a repository: a table of runs, one of updates, and about.json.

`write` makes them from finished runs; `read` gives the same objects back that the analysis of
run directories works on, so that every number in the docs can be computed from them alone.
Numbers have five significant digits.
"""

from collapse_lm.analysis.kept.read import Kept, read_kept
from collapse_lm.analysis.kept.write import write_kept

__all__ = ["Kept", "read_kept", "write_kept"]
