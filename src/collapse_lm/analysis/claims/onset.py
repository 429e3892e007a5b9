"""Claims on when runs collapse: earlier at a higher learning rate, earlier for a larger model?"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any

from collapse_lm.analysis.claims.verdicts import (
    CONFIDENCE,
    FEWEST_SEEDS,
    HALF,
    SEED,
    SIGNIFICANT,
    Claim,
    Effect,
    Finding,
    Statement,
    Verdict,
)
from collapse_lm.analysis.levels import (
    LEARNING_RATE,
    SIZE,
    Groups,
    describe_levels,
    sort_group,
)
from collapse_lm.analysis.outcomes import Measured, Outcome
from collapse_lm.analysis.stats.cox import Covariate, cox
from collapse_lm.analysis.stats.log_rank import log_rank
from collapse_lm.analysis.stats.ordered import PERMUTATIONS, concordance, smallest_trend_p, trend_p

_AMOUNT = {LEARNING_RATE: "learning rate", SIZE: "number of parameters"}
_RULE = (
    f"supported if the {CONFIDENCE:.0%} profile-likelihood interval of the hazard ratio lies above "
    f"1 and the permutation p-value is at most {SIGNIFICANT}; not supported (the opposite was "
    f"found) if the interval lies below 1, with the same p; undecided otherwise, with fewer than "
    f"{FEWEST_SEEDS} seeds, and where no run collapsed; not tested with fewer than two levels"
)
_TEST = (
    "Cox regression of the time to collapse on the base-10 logarithm of the {what} (Efron's ties, "
    "profile-likelihood interval, stratified by the other settings), with a permutation test of "
    "the log-rank trend, as the interval alone is too sure of itself for few runs{more}"
)

RATE = Statement(
    id="higher-rate-collapses-faster",
    section="3",
    sentence=(
        "When the learning rate is higher, the model collapses faster and produces repetitive "
        "tokens quickly."
    ),
    supports="a hazard of collapse that grows with the learning rate",
    test=_TEST.format(what=_AMOUNT[LEARNING_RATE], more=""),
    rule=_RULE,
    limits=(
        "The hazard ratio is a mean over the rates tried and assumes that it is the same at every "
        "update; it says nothing of rates outside them. Runs of one seed share their random "
        "numbers. A collapse need not last: the details count the runs whose last samples are "
        "repetitive. A run that diverged counts as censored."
    ),
)
LARGER = Statement(
    id="larger-models-collapse-faster",
    section="A.2",
    sentence="larger models tend to exhibit more rapid onset of model collapse.",
    supports="a hazard of collapse that grows with the number of parameters",
    test=_TEST.format(
        what=_AMOUNT[SIZE],
        more="; it deals sizes to whole models, as seeds of one model are no second model",
    ),
    rule=_RULE,
    limits=(
        "Each size is one trained model; seeds repeat the self-training, not the training, so the "
        "interval of the hazard ratio is one for these models, and only the permutation test "
        "speaks of others. All sizes share one learning rate, which need not be equally apt for "
        "each. A size outside the range is not tested."
    ),
)


def rate_claim(groups: Groups) -> Claim:
    """Judge "when the learning rate is higher, the model collapses faster"."""
    runs = [run for run in groups.get(LEARNING_RATE, ()) if run.outcome.learning_rate > 0]

    def others(outcome: Outcome) -> Hashable:
        return outcome.model, outcome.temperature, outcome.sample_length

    units = [run.outcome.run for run in runs]
    return Claim(RATE, _onset(LEARNING_RATE, runs, lambda o: o.learning_rate, others, units))


def size_claim(groups: Groups) -> Claim:
    """Judge "larger models tend to exhibit more rapid onset of model collapse"."""
    runs = [r for r in groups.get(SIZE, ()) if r.outcome.parameters and r.outcome.learning_rate]

    def others(outcome: Outcome) -> Hashable:
        return outcome.learning_rate, outcome.temperature, outcome.sample_length

    units = [run.outcome.model for run in runs]
    found = _onset(SIZE, runs, lambda o: float(o.parameters or 0), others, units)
    return Claim(LARGER, found)


def _onset(
    group: str,
    runs: Sequence[Measured],
    amount: Callable[[Outcome], float],
    others: Callable[[Outcome], Hashable],
    units: Sequence[str],
) -> Finding:
    """Test whether runs with ten times the amount collapse earlier, other settings equal."""
    outcomes = [run.outcome for run in runs]
    strata = [others(outcome) for outcome in outcomes]
    if not runs or len({amount(outcome) for outcome in outcomes}) < 2:
        got = f"one {_AMOUNT[group]} only" if runs else f'no finished run in the group "{group}"'
        return Finding("not tested", got, group=group, runs=len(runs))
    times, observed = [o.time for o in outcomes], [o.observed for o in outcomes]
    decades = [math.log10(amount(outcome)) for outcome in outcomes]
    found = cox(times, observed, [[x] for x in decades], [group], strata, CONFIDENCE).covariates[0]
    p = trend_p(times, observed, decades, strata, seed=SEED, units=units)
    verdict, reason = _judge(found, p, len({outcome.seed for outcome in outcomes}))
    levels = sort_group(group, runs)
    return Finding(
        verdict,
        reason,
        _hazard_ratio(group, found),
        p,
        group,
        len(runs),
        describe_levels(group, runs),
        {
            "likelihood_ratio_p": found.p_value,
            "firth_hazard_ratio": _exp(found.firth),
            "separated": found.separated,
            "concordance": concordance(times, observed, decades, strata),
            "medians_never_rise": _never_rise(describe_levels(group, runs)),
            "strata": len(set(strata)),
            "log_rank": _log_rank(levels) if len(set(strata)) == 1 else None,
            "diverged": sum(o.status == "diverged" for o in outcomes),
            "collapsed": sum(observed),
            "collapsed_and_repetitive_at_the_end": sum(
                o.observed and o.repetitive > HALF for o in outcomes
            ),
        },
        _reach(group, list(zip(strata, decades, units, strict=True))),
    )


def _judge(found: Covariate, p: float, seeds: int) -> tuple[Verdict, str]:
    if found.note and math.isnan(found.profile_lower):
        return "undecided", found.note
    if seeds < FEWEST_SEEDS:
        return (
            "undecided",
            f"{seeds} seeds: fewer than {FEWEST_SEEDS} cannot tell an effect from chance",
        )
    ends = (_told(found.estimate), _told(found.profile_lower), _told(found.profile_upper))
    interval = "hazard ratio {} per tenfold increase ({} to {})".format(*ends)
    interval += f", permutation p = {p:.2g}"
    if p <= SIGNIFICANT and found.profile_lower > 0:
        return "supported", interval
    if p <= SIGNIFICANT and found.profile_upper < 0:
        return "not supported", f"the opposite was found: {interval}"
    return "undecided", interval


def _hazard_ratio(group: str, found: Covariate) -> Effect:
    note = found.note
    if found.separated:
        note = f"{note}; Firth's estimate is {_exp(found.firth):.3g}"
    return Effect(
        f"hazard ratio of collapse per tenfold {_AMOUNT[group]}",
        _exp(found.estimate),
        _exp(found.profile_lower),
        _exp(found.profile_upper),
        note,
    )


def _told(log_ratio: float) -> str:
    ratio = _exp(log_ratio)
    return "infinite" if math.isinf(ratio) else f"{ratio:.3g}"


def _exp(value: float) -> float:
    """Exponential; infinite where it has no number."""
    return math.exp(value) if not value > 700 else math.inf


def _never_rise(levels: dict[str, dict[str, Any]]) -> bool | None:
    """True where no median is later than that of the level below; one not reached is the latest.

    None where no level reaches its median.
    """
    medians = [level["median"] for level in levels.values()]
    if medians.count(None) == len(medians):
        return None
    known = [math.inf if median is None else median for median in medians]
    return all(later >= earlier for later, earlier in pairwise(known))


def _log_rank(levels: dict[str, list[Measured]]) -> dict[str, Any]:
    """Compare all levels without their order."""
    found = log_rank(
        {
            name: ([r.outcome.time for r in runs], [r.outcome.observed for r in runs])
            for name, runs in levels.items()
        },
        seed=SEED,
    )
    fields = ("chi2", "df", "p_value", "permutation_p", "exact")
    return {name: getattr(found, name) for name in fields}


def _reach(group: str, runs: Sequence[tuple[Hashable, float, str]]) -> str:
    """Say how small a p-value the permutation test can show; runs are (stratum, amount, unit)."""
    strata: dict[Hashable, Counter[float]] = {}
    for stratum, amount, _ in dict.fromkeys(runs):
        strata.setdefault(stratum, Counter())[amount] += 1
    least = max(smallest_trend_p([list(c.values()) for c in strata.values()]), 1 / PERMUTATIONS)
    units = len({unit for *_, unit in runs})
    if group == SIZE:
        what = f"As evidence on models in general these are {units} models, not {len(runs)} runs"
    else:
        what = f"With {units} runs at {len({amount for _, amount, _ in runs})} levels"
    return f"{what}: the permutation test cannot show a p-value below {least:.2g}."
