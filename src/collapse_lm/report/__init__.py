"""Pictures and pages made from run directories. Reads the record only; no torch."""

from collapse_lm.report.first_pictures import write_first_pictures

__all__ = ["write_first_pictures"]
