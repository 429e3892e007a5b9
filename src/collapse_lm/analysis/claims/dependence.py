"""Claims on what the learning rate does to the validation loss, at equal update and equal dose."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from collapse_lm.analysis.claims.units import few_seeds
from collapse_lm.analysis.claims.verdicts import (
    CONFIDENCE,
    FEWEST_SEEDS,
    NEGLIGIBLE,
    SEED,
    SIGNIFICANT,
    Claim,
    Finding,
    Statement,
    Verdict,
    as_effect,
    reachable_by,
)
from collapse_lm.analysis.levels import LEARNING_RATE, Groups, describe_levels
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.permutation import PermutationTest, permutation_test
from collapse_lm.analysis.stats.trend import Interval, student_interval

_SENTENCE = "the validation loss [...] is significantly influenced by the learning rate."
_FEWEST_LOOKS = 3  # evaluations of each run up to the point of comparison, the first aside
_TEST = (
    "rise of the loss on the first corpus above that of the base model, at {where}, on a straight "
    "line between the evaluations about it; slope per tenfold learning rate within each seed, mean "
    "over seeds with Student's interval; permutation test of the rates, dealt anew within each seed"
)
_NOTHING = (
    f"if the interval lies within {NEGLIGIBLE} nats to either side of 0, which is no influence "
    "worth the name"
)
_FEW = (
    f"undecided otherwise, and with fewer than {FEWEST_SEEDS} seeds; not tested with fewer than "
    f"two rates, or where a run has fewer than {_FEWEST_LOOKS} evaluations up to there"
)
_LIMITS = (
    "The point of comparison is where the first run ended, so it says nothing of what comes later. "
    "A run that ends at its collapse ends early, which keeps the point early for all."
)

AT_UPDATE = Statement(
    id="loss-depends-on-rate",
    section="3",
    sentence=_SENTENCE,
    supports="after equally many updates the loss is higher at a higher learning rate (Figure 2)",
    test=_TEST.format(where="the last update that every run has"),
    rule=(
        f"supported if the interval of the slope lies above 0 and the permutation p-value is at "
        f"most {SIGNIFICANT}; not supported if it lies below 0 with the same p, and {_NOTHING}; "
        f"{_FEW}"
    ),
    limits=_LIMITS,
)
AT_DOSE = Statement(
    id="loss-depends-on-rate-at-equal-dose",
    section="3",
    sentence=_SENTENCE,
    supports=(
        "at an equal dose, the sum of the learning rates, the loss still differs between rates: "
        "the rate does more than set the pace"
    ),
    test=_TEST.format(where="the last dose that every run has"),
    rule=(
        f"supported if the interval of the slope excludes 0 and the permutation p-value is at most "
        f"{SIGNIFICANT}; not supported {_NOTHING}; {_FEW}"
    ),
    limits=_LIMITS,
)

Curve = tuple[list[float], list[float]]  # update or dose, and the rise of the loss there


def dependence_claims(groups: Groups) -> list[Claim]:
    """Judge the influence of the rate on the loss, at equal update and at equal dose."""
    runs = [run for run in groups.get(LEARNING_RATE, ()) if run.outcome.learning_rate > 0]
    by_update, by_dose = [[_curve(run, is_dose) for run in runs] for is_dose in (False, True)]
    return [
        Claim(AT_UPDATE, _finding(runs, by_update, "update", is_directed=True)),
        Claim(AT_DOSE, _finding(runs, by_dose, "dose", is_directed=False)),
    ]


def _curve(run: Measured, is_dose: bool) -> Curve:
    corpora = run.outcome.corpora
    losses = run.validation_loss(corpora[0]) if corpora else {}
    doses = run.dose() if is_dose else {}
    places = [doses[update] if is_dose else float(update) for update in losses]
    start = next(iter(losses.values()), math.nan)
    return places, [loss - start for loss in losses.values()]


def _finding(
    runs: Sequence[Measured], curves: Sequence[Curve], what: str, *, is_directed: bool
) -> Finding:
    if not runs:
        return Finding("not tested", "no finished run in the group", group=LEARNING_RATE)
    seeds = len({run.outcome.seed for run in runs})
    if len({run.outcome.learning_rate for run in runs}) < 2:
        return _not_tested(runs, "one learning rate only")
    if seeds < FEWEST_SEEDS:
        return _undecided(runs, few_seeds(seeds))
    point = min((places[-1] for places, _ in curves if places), default=0.0)
    if any(
        sum(0 < x <= point * (1 + 1e-9) for x in places) < _FEWEST_LOOKS for places, _ in curves
    ):
        return _not_tested(runs, f"a run has too few evaluations up to {what} {point:.3g}")
    found = {
        id(run): float(np.interp(point, *curve)) for run, curve in zip(runs, curves, strict=True)
    }
    slope, test = _slope(runs, found)
    verdict = _judge(slope, test, is_directed=is_directed)
    reason = (
        f"at {what} {point:.3g} the loss differs by {slope.value:.3g} nats per tenfold rate "
        f"({slope.lower:.3g} to {slope.upper:.3g}), permutation p = {test.p_value:.3g}"
    )
    name = f"nats per tenfold learning rate at equal {what}"
    return Finding(
        verdict,
        reason,
        as_effect(name, slope),
        test.p_value,
        LEARNING_RATE,
        len(runs),
        describe_levels(LEARNING_RATE, runs),
        _details(runs, found, what, point, test),
        reachable=reachable_by(supported=test.smallest <= SIGNIFICANT, not_supported=True),
    )


def _slope(runs: Sequence[Measured], rise: Mapping[int, float]) -> tuple[Interval, PermutationTest]:
    blocks: dict[Any, list[Measured]] = {}
    for run in runs:
        o = run.outcome
        blocks.setdefault((o.seed, o.model, o.temperature, o.sample_length), []).append(run)
    by_seed: dict[int, list[float]] = {}
    dealt = []
    for (seed, *_), members in blocks.items():
        x = np.array([math.log10(run.outcome.learning_rate) for run in members])
        y = np.array([rise[id(run)] for run in members])
        if np.ptp(x) and np.isfinite(y).all():
            dealt.append((x, y))
            by_seed.setdefault(seed, []).append(float(np.polyfit(x, y, 1)[0]))
    slopes = [float(np.mean(values)) for values in by_seed.values()]
    return student_interval(slopes, CONFIDENCE), permutation_test(dealt, seed=SEED)


def _judge(slope: Interval, test: PermutationTest, *, is_directed: bool) -> Verdict:
    if slope.lower >= -NEGLIGIBLE and slope.upper <= NEGLIGIBLE:
        return "not supported"
    if not test.p_value <= SIGNIFICANT:
        return "undecided"
    if slope.lower > 0:
        return "supported"
    if slope.upper < 0:
        return "not supported" if is_directed else "supported"
    return "undecided"


def _details(
    runs: Sequence[Measured],
    rise: Mapping[int, float],
    what: str,
    point: float,
    test: PermutationTest,
) -> dict[str, Any]:
    means: dict[str, list[float]] = {}
    for run in runs:
        means.setdefault(f"{run.outcome.learning_rate:g}", []).append(rise[id(run)])
    return {
        f"equal_{what}": point,
        "mean_rise_by_rate": {rate: float(np.mean(values)) for rate, values in means.items()},
        "permutation": {**vars(test), "within": "seed"},
    }


def _not_tested(runs: Sequence[Measured], reason: str) -> Finding:
    return Finding("not tested", reason, group=LEARNING_RATE, runs=len(runs))


def _undecided(runs: Sequence[Measured], reason: str) -> Finding:
    reachable: tuple[Verdict, ...] = ("undecided",)
    return Finding("undecided", reason, group=LEARNING_RATE, runs=len(runs), reachable=reachable)
