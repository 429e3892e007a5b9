"""Pure measurements: token ids to numbers, a series and a rule to a verdict."""

from collapse_lm.measures.rule import CollapseRule, Observation, Verdict, judge
from collapse_lm.measures.text import Loop, TextMetrics, find_loop, measure_samples, seq_rep

__all__ = [
    "CollapseRule",
    "Loop",
    "Observation",
    "TextMetrics",
    "Verdict",
    "find_loop",
    "judge",
    "measure_samples",
    "seq_rep",
]
