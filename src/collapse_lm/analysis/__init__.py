"""From run directories to tables. Reads the record only; no torch."""

from collapse_lm.analysis.runs import run_table

__all__ = ["run_table"]
