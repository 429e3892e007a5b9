"""Measurements, one file each: rows and names, texts, rule, states, dose, losses, distances."""

from collapse_lm.config.sections import CollapseRule
from collapse_lm.measures.names import NAMES, Row
from collapse_lm.measures.rule import Observation, Verdict, Watch, judge
from collapse_lm.measures.text import Loop, TextMetrics, find_loop, measure_samples, seq_rep

__all__ = [
    "NAMES",
    "CollapseRule",
    "Loop",
    "Observation",
    "Row",
    "TextMetrics",
    "Verdict",
    "Watch",
    "find_loop",
    "judge",
    "measure_samples",
    "seq_rep",
]
