"""Claims on when runs collapse: earlier at a higher learning rate, earlier for a larger model?"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from collapse_lm._util.numbers import exp
from collapse_lm.analysis.claims.units import Units, few_seeds, units_of
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
    reachable_by,
)
from collapse_lm.analysis.events import loop
from collapse_lm.analysis.law import exponent, level_dose
from collapse_lm.analysis.levels import LEARNING_RATE, SIZE, Groups, describe_levels, sort_group
from collapse_lm.analysis.outcomes import Measured, Outcome, spacing
from collapse_lm.analysis.stats.cox import Covariate, cox
from collapse_lm.analysis.stats.ordered import concordance, trend_test
from collapse_lm.analysis.stats.permutation import PermutationTest
from collapse_lm.analysis.stats.time_ratio import TimeRatio, time_ratio

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
    "the log-rank trend, as the interval alone is too sure of itself for few runs; it {dealt}, and "
    "counts every distinct assignment where these are few enough to count"
)

RATE = Statement(
    id="higher-rate-collapses-faster",
    section="3",
    sentence=(
        "When the learning rate is higher, the model collapses faster and produces repetitive "
        "tokens quickly."
    ),
    supports="a hazard of collapse that grows with the learning rate",
    test=_TEST.format(
        what=_AMOUNT[LEARNING_RATE],
        dealt=(
            "deals the rates anew within each seed, as runs of one seed share random numbers (runs "
            "of one seed and one rate at several other settings are dealt together)"
        ),
    ),
    rule=_RULE,
    limits=(
        "The hazard ratio is a mean over the rates tried and assumes that it is the same at every "
        "update; it says nothing of rates outside them. Its interval takes runs of one seed for "
        "independent, though they share random numbers; the permutation test does not. A collapse "
        "need not last: the details count the runs whose last samples are repetitive. A run that "
        "diverged counts as censored."
    ),
)
LARGER = Statement(
    id="larger-models-collapse-faster",
    section="A.2",
    sentence="larger models tend to exhibit more rapid onset of model collapse.",
    supports=(
        "a hazard of collapse that grows with the number of parameters, at one shared learning rate"
    ),
    test=_TEST.format(
        what=_AMOUNT[SIZE],
        dealt="deals sizes to whole models, as seeds of one model are no second model",
    ),
    rule=_RULE,
    limits=(
        "Each size is one trained model; seeds repeat the self-training, not the training, so the "
        "interval of the hazard ratio is one for these models, and only the permutation test "
        "speaks of others. All sizes share one learning rate, which need not be equally apt for "
        "each: with rates that fall as the width grows the order may be another (the sweep `sizes` "
        "has four rates per size). On a ladder size and pretraining loss go together, and this "
        "does not say which of them it is. A size outside the range is not tested."
    ),
)


@dataclass(frozen=True)
class _Design:
    """What a claim on the onset compares.

    Attributes:
        group: the sweep.
        amount: of an outcome, whose effect is asked for.
        others: its other settings; outcomes are compared where they are equal.
        dealt: what the permutation test deals an amount to, as one.
        block: within what it deals.
    """

    group: str
    amount: Callable[[Outcome], float]
    others: Callable[[Outcome], Hashable]
    dealt: Callable[[Outcome], Hashable]
    block: Callable[[Outcome], Hashable]


_RATES = _Design(
    LEARNING_RATE,
    lambda o: o.learning_rate,
    lambda o: (o.model, o.temperature, o.sample_length),
    lambda o: (o.seed, o.learning_rate),
    lambda o: o.seed,
)
_SIZES = _Design(
    SIZE,
    lambda o: float(o.parameters or 0),
    lambda o: (o.learning_rate, o.temperature, o.sample_length),
    lambda o: o.model,
    lambda o: None,
)


def rate_claim(groups: Groups) -> Claim:
    """Judge "when the learning rate is higher, the model collapses faster"."""
    runs = [run for run in groups.get(LEARNING_RATE, ()) if run.outcome.learning_rate > 0]
    return Claim(RATE, _onset(_RATES, runs))


def size_claim(groups: Groups) -> Claim:
    """Judge "larger models tend to exhibit more rapid onset of model collapse"."""
    runs = [r for r in groups.get(SIZE, ()) if r.outcome.parameters and r.outcome.learning_rate]
    return Claim(LARGER, _onset(_SIZES, runs))


def _onset(design: _Design, runs: Sequence[Measured]) -> Finding:
    """Test whether runs with ten times the amount collapse earlier, other settings equal."""
    group, outcomes = design.group, [run.outcome for run in runs]
    if len({design.amount(outcome) for outcome in outcomes}) < 2:
        got = f"one {_AMOUNT[group]} only" if runs else f'no finished run in the group "{group}"'
        return Finding("not tested", got, group=group, runs=len(runs))
    strata = [design.others(outcome) for outcome in outcomes]
    times, observed = [o.time for o in outcomes], [o.observed for o in outcomes]
    decades = [math.log10(design.amount(outcome)) for outcome in outcomes]
    found = cox(times, observed, [[x] for x in decades], [group], strata, CONFIDENCE).covariates[0]
    test = _permute(design, outcomes, decades, strata)
    units, levels = units_of(group, runs), describe_levels(group, runs)
    verdict, reason = _judge(found, test.p_value, units.seeds)
    ratio = _time_ratio(outcomes, decades, strata, spacing(runs))
    can = test.smallest <= SIGNIFICANT and units.seeds >= FEWEST_SEEDS
    return Finding(
        verdict,
        _with_time(reason, ratio, group),
        _hazard_ratio(group, found),
        test.p_value,
        group,
        len(runs),
        levels,
        {
            **units.details(),
            "permutation": {**vars(test), "within": "seed" if group == LEARNING_RATE else None},
            "likelihood_ratio_p": found.p_value,
            "firth_hazard_ratio": exp(found.firth),
            "separated": found.separated,
            "time_ratio_highest_to_lowest": vars(ratio),
            **(_in_dose(runs, strata) if group == LEARNING_RATE else {}),
            "concordance": concordance(times, observed, decades, strata),
            "medians_never_rise": _never_rise(levels),
            "strata": len(set(strata)),
            "diverged": sum(o.status == "diverged" for o in outcomes),
            "collapsed": sum(observed),
            "collapsed_and_repetitive_at_the_end": sum(
                o.observed and o.repetitive > HALF for o in outcomes
            ),
        },
        _reach(units, len(runs), len(set(decades)), test),
        reachable_by(supported=can, not_supported=can),
    )


def _with_time(reason: str, ratio: TimeRatio, group: str) -> str:
    """A hazard says who is first; how much sooner is said by the ratio of times."""
    said = reason
    if not math.isnan(ratio.value):
        limits = "" if math.isnan(ratio.lower) else f" ({ratio.lower:.3g} to {ratio.upper:.3g})"
        least_most = f"{ratio.bound} " if ratio.bound else ""
        said += f"; time at the highest over that at the lowest: {least_most}{ratio.value:.3g}"
        said += limits
    return f"{said}; at one shared learning rate" if group == SIZE else said


def _in_dose(runs: Sequence[Measured], strata: Sequence[Hashable]) -> dict[str, Any]:
    """The exponent of the time in the rate, and the median dose at the collapse by rate."""
    times, rates = [loop(run) for run in runs], [run.outcome.learning_rate for run in runs]
    found = exponent(times, rates, [run.outcome.seed for run in runs], strata)
    doses = {
        name: level_dose([(run, loop(run)) for run in members])
        for name, members in sort_group(LEARNING_RATE, runs).items()
    }
    return {"exponent_in_the_rate": vars(found), "median_dose_at_the_collapse": doses}


def _permute(
    design: _Design,
    outcomes: Sequence[Outcome],
    decades: Sequence[float],
    strata: Sequence[Hashable],
) -> PermutationTest:
    return trend_test(
        [o.time for o in outcomes],
        [o.observed for o in outcomes],
        decades,
        strata,
        seed=SEED,
        units=[design.dealt(o) for o in outcomes],
        blocks=[design.block(o) for o in outcomes],
    )


def _time_ratio(
    outcomes: Sequence[Outcome], decades: Sequence[float], strata: Sequence[Hashable], every: int
) -> TimeRatio:
    """Times at the largest amount over those at the smallest; finite for separated runs too."""
    low, high = min(decades), max(decades)
    return time_ratio(
        [o.time for o in outcomes],
        [o.observed for o in outcomes],
        [(x - low) / (high - low) for x in decades],
        strata,
        [o.seed for o in outcomes],
        CONFIDENCE,
        every,
    )


def _judge(found: Covariate, p: float, seeds: int) -> tuple[Verdict, str]:
    if found.note and math.isnan(found.profile_lower):
        return "undecided", found.note
    if seeds < FEWEST_SEEDS:
        return "undecided", few_seeds(seeds)
    interval = f"{_told(found)} per tenfold increase, permutation p = {p:.3g}"
    if p <= SIGNIFICANT and found.profile_lower > 0:
        return "supported", interval
    if p <= SIGNIFICANT and found.profile_upper < 0:
        return "not supported", f"the opposite was found: {interval}"
    return "undecided", interval


def _hazard_ratio(group: str, found: Covariate) -> Effect:
    note = found.note
    if found.separated:
        note = f"{note}; Firth's estimate is {exp(found.firth):.3g}"
    return Effect(
        f"hazard ratio of collapse per tenfold {_AMOUNT[group]}",
        exp(found.estimate),
        exp(found.profile_lower),
        exp(found.profile_upper),
        note,
    )


def _told(found: Covariate) -> str:
    """The hazard ratio with its interval, or the limit that there is."""
    value, *limits = map(exp, (found.estimate, found.profile_lower, found.profile_upper))
    if math.isinf(value):
        return f"hazard ratio above {limits[0]:.3g} (95 %; the runs are separated)"
    if found.separated and found.estimate < 0:
        return f"hazard ratio below {limits[1]:.3g} (95 %; the runs are separated)"
    low, high = (f"{limit:.3g}" if math.isfinite(limit) else "no limit" for limit in limits)
    return f"hazard ratio {value:.3g} ({low} to {high})"


def _never_rise(levels: dict[str, dict[str, Any]]) -> bool | None:
    """True where no median is later than that of the level below; one not reached is the latest.

    None where no level reaches its median.
    """
    medians = [level["median"] for level in levels.values()]
    if medians.count(None) == len(medians):
        return None
    known = [math.inf if median is None else median for median in medians]
    return all(later >= earlier for later, earlier in pairwise(known))


def _reach(units: Units, runs: int, levels: int, test: PermutationTest) -> str:
    """Say how small a p-value the permutation test can show."""
    if units.name == "model":
        what = f"As evidence on models in general these are {units.told()}, not {runs} runs"
    else:
        what = f"With {runs} runs at {levels} levels, dealt within {units.seeds} seeds"
    counted = f"all {test.assignments:,} distinct" if test.exact else f"{test.assignments:,} random"
    said = (
        f"{what}: the permutation test counts {counted} assignments and cannot show a p-value "
        f"below {test.smallest:.3g}"
    )
    if test.smallest > SIGNIFICANT:
        said += f", so that a verdict, which asks for {SIGNIFICANT}, is out of reach"
    return f"{said}."
