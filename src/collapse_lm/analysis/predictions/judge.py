"""Every prediction of docs/predictions.md, as a function of the runs of its sweep.

The toys have their own (docs/scripts/measure_toys.py).
"""

from collections.abc import Callable, Mapping, Sequence

from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.predictions import controls, dose, generations, law, others
from collapse_lm.analysis.predictions.rules import Judged

_JUDGES: Mapping[str, Callable[[Sequence[Measured]], list[Judged]]] = {
    "controls": controls.judge,
    "law": law.judge,
    "dose": dose.judge,
    "truncation": others.judge_truncation,
    "batch": others.judge_batch,
    "sizes": others.judge_sizes,
    "law-smollm2": others.judge_smollm2,
    "generations": generations.judge,
}


def sweeps() -> list[str]:
    """The sweeps that predictions are of."""
    return list(_JUDGES)


def judge(sweep: str, runs: Sequence[Measured]) -> list[Judged]:
    """Judge what was predicted of a sweep; of any other nothing was.

    Args:
        sweep: its name.
        runs: those that have ended, with all rows that carry validation losses and probes.
    """
    return _JUDGES[sweep](runs) if sweep in _JUDGES and runs else []
