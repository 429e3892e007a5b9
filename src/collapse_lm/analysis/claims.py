"""The paper's claims, each with the verdict of the runs at hand.

Statements, tests and thresholds are fixed in `onset_claims`, `ending_claims`,
`validation_claims` and `verdicts`; nothing here depends on what was found.
"""

from collections.abc import Sequence

from collapse_lm.analysis.ending_claims import close_to_zero_claim, consistent_claim
from collapse_lm.analysis.levels import LEARNING_RATE, PHASE, SIZE, Groups
from collapse_lm.analysis.onset_claims import rate_claim, size_claim
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.validation_claims import alike_claim, each_update_claim, trend_claim
from collapse_lm.analysis.verdicts import Claim


def judge_claims(groups: Groups) -> list[Claim]:
    """Judge every claim of the paper on finished runs.

    Claims on a single sweep use the group "learning rate", as the paper does, or else
    the first of "size" and "phase" that holds runs. Runs at learning rate 0, which
    train nothing, are controls and belong to no claim.

    Args:
        groups: "learning rate", "size" and "phase", any of which may be missing.
    """
    group, runs = main_runs(groups)
    return [
        each_update_claim(group, runs),
        trend_claim(group, runs),
        rate_claim(groups),
        close_to_zero_claim(group, runs),
        size_claim(groups),
        alike_claim(group, runs),
        consistent_claim(group, runs),
    ]


def main_runs(groups: Groups) -> tuple[str, Sequence[Measured]]:
    """Return the group that claims on a single sweep use, and its runs that train."""
    for group in (LEARNING_RATE, SIZE, PHASE):
        runs = [run for run in groups.get(group, ()) if run.outcome.learning_rate > 0]
        if runs:
            return group, runs
    return LEARNING_RATE, []
