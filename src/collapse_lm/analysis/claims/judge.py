"""The paper's claims, each with the verdict of the runs at hand.

Statements, tests and thresholds are fixed in `onset`, `ending`, `validation`, `dependence`,
`course` and `verdicts`; nothing here depends on what was found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from collapse_lm.analysis.claims.course import course_claims
from collapse_lm.analysis.claims.dependence import dependence_claims
from collapse_lm.analysis.claims.ending import close_to_zero_claim, consistent_claim
from collapse_lm.analysis.claims.onset import rate_claim, size_claim
from collapse_lm.analysis.claims.validation import (
    alike_claim,
    each_update_claim,
    is_seen_each_update,
    trend_claim,
)
from collapse_lm.analysis.claims.verdicts import Claim
from collapse_lm.analysis.levels import LEARNING_RATE, PHASE, SIZE, Groups
from collapse_lm.analysis.outcomes import Measured

_ORDER = (LEARNING_RATE, SIZE, PHASE)


def judge_claims(groups: Groups, missing: Mapping[str, int] | None = None) -> list[Claim]:
    """Judge every claim of the paper on finished runs.

    Claims on a single sweep use the group "learning rate", as the paper does, or else
    the first of "size" and "phase" that holds runs; the claim on each single update uses
    the first whose runs were evaluated that often. Runs at learning rate 0, which train
    nothing, are controls and belong to no claim.

    Args:
        groups: "learning rate", "size" and "phase", any of which may be missing.
        missing: group -> runs of it that have not ended. A group that misses runs
            decides nothing: those that ended first are no fair choice.
    """
    group, runs = main_runs(groups)
    every = next((g for g in _ORDER if is_seen_each_update(_training(groups, g))), group)
    claims = [
        each_update_claim(every, _training(groups, every)),
        trend_claim(group, runs),
        rate_claim(groups),
        close_to_zero_claim(group, runs),
        size_claim(groups),
        alike_claim(group, runs),
        consistent_claim(group, runs),
        *dependence_claims(groups),
        *course_claims(group, runs),
    ]
    return [_undecided_if_missing(claim, missing or {}) for claim in claims]


def _undecided_if_missing(claim: Claim, missing: Mapping[str, int]) -> Claim:
    found, count = claim.finding, missing.get(claim.finding.group, 0)
    if not count or found.verdict not in ("supported", "not supported"):
        return claim
    reason = f"{count} of the runs have not ended; so far: {found.reason}"
    return replace(claim, finding=replace(found, verdict="undecided", reason=reason))


def main_runs(groups: Groups) -> tuple[str, Sequence[Measured]]:
    """Return the group that claims on a single sweep use, and its runs that train."""
    for group in _ORDER:
        if runs := _training(groups, group):
            return group, runs
    return LEARNING_RATE, []


def _training(groups: Groups, group: str) -> list[Measured]:
    return [run for run in groups.get(group, ()) if run.outcome.learning_rate > 0]
