"""Which sweeps have what the paper's sentences speak of, `reproduce` aside."""

from collections.abc import Sequence

from collapse_lm._util.printable import printable
from collapse_lm.analysis.levels import LEARNING_RATE, SIZE
from collapse_lm.analysis.outcomes import Measured

CORPORA = ("wikitext2", "ptb")  # of the paper
PENN_TREEBANK = "ptb"
# Parameters of GPT-2, small to XL, tied ones counted once.
SIZES = (124_439_808, 354_823_168, 774_030_080, 1_557_611_200)


def judged_on(runs: Sequence[Measured]) -> str:
    """Say on which models and texts, and whether these are the paper's; empty without runs."""
    if not runs:
        return ""
    outcomes = [run.outcome for run in runs]
    models = ", ".join(printable(name) for name in dict.fromkeys(o.label for o in outcomes))
    texts = ", ".join(printable(c) for c in dict.fromkeys(c for o in outcomes for c in o.corpora))
    others = [
        *(["not the paper's models"] if any(o.parameters not in SIZES for o in outcomes) else []),
        *(["not only its texts"] if any(set(o.corpora) - set(CORPORA) for o in outcomes) else []),
    ]
    return f"Judged on {models}; {texts}" + (f" ({', '.join(others)})" if others else "")


def why_not_judged(group: str | None, runs: Sequence[Measured]) -> str:
    """Say why a sweep is no test of the paper's sentences; empty if it is one.

    Args:
        group: what the runs vary, where the paper varies that.
        runs: those that have ended.
    """
    if group not in (LEARNING_RATE, SIZE):
        return "they compare learning rates or models, and this sweep varies something else or both"
    if any(run.outcome.parameters not in SIZES for run in runs):
        return "they speak of GPT-2, from 124M to 1.5B parameters, and not every model is one"
    if any(not set(run.outcome.corpora) & set(CORPORA) for run in runs):
        return f"they speak of {' and '.join(CORPORA)}, and runs were evaluated on other texts"
    return "" if runs else "no run has ended"
