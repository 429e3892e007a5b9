"""The paper, reproduced: which runs each figure and table needs, and doing them. No torch."""

from collapse_lm.reproduction.plan import Scale, Target, sweeps_for

__all__ = ["Scale", "Target", "sweeps_for"]
