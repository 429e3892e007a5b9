"""Whether a run was watched past its collapse for long enough to say what follows."""

from collapse_lm.analysis.claims.verdicts import LOOKS, PAPER_UPDATES
from collapse_lm.analysis.events import dose_at
from collapse_lm.analysis.outcomes import Measured

WATCHED = (
    "watched: for as much dose, the sum of the learning rates, after the collapse as up to it and "
    f"for {LOOKS} updates at least, or up to {PAPER_UPDATES} updates, the paper's horizon"
)


def is_watched(run: Measured) -> bool:
    """True for a run that went on for long enough after its collapse.

    In dose, so that a low rate is not given a thirtieth of what a high one is.
    """
    outcome = run.outcome
    if outcome.updates >= PAPER_UPDATES:
        return True
    if outcome.collapse_update is None or outcome.updates < outcome.collapse_update + LOOKS:
        return False
    return dose_at(run, outcome.updates) >= 2 * dose_at(run, outcome.collapse_update)
