"""Claims on the course of a run: the train loss falls, a collapse lasts, the loss degrades."""

import math
from collections.abc import Sequence

import numpy as np

from collapse_lm.analysis.claims.units import UNIT, Units, units_of
from collapse_lm.analysis.claims.verdicts import (
    CONFIDENCE,
    FEWEST_SEEDS,
    FEWEST_UNITS,
    HALF,
    NEGLIGIBLE,
    SEED,
    Claim,
    Finding,
    Statement,
    as_effect,
    decide,
    reachable_by,
)
from collapse_lm.analysis.claims.watched import WATCHED, is_watched
from collapse_lm.analysis.levels import describe_levels
from collapse_lm.analysis.outcomes import LAST, Measured
from collapse_lm.analysis.stats.trend import Interval, bootstrap_interval

_FEW = f"undecided otherwise, and with fewer than {FEWEST_UNITS} units or {FEWEST_SEEDS} seeds"
_LIMITS = (
    "Bootstrap intervals over few units are too short. The runs differ in their learning rate and "
    "share random numbers where they share a seed, so they are no sample of one population."
)

FALLS = Statement(
    id="train-loss-falls",
    section="3",
    sentence=(
        "This phenomenon is exemplified by a significant decrease in loss on generated (train) data"
    ),
    supports="the train loss at the end of a run lies below that of its first update",
    test=(
        f"fall of the train loss from the first update to the mean of the last {LAST}, mean over "
        "runs with a bootstrap interval over units; share of runs in which it fell, interval of "
        f"Clopper and Pearson; {UNIT}"
    ),
    rule=(
        f"supported if the interval of the fall lies above 0 and that of the share above {HALF}; "
        f"not supported if either lies below; {_FEW}"
    ),
    limits=f"The first update is one sample, whose loss is rough. {_LIMITS}",
)
LASTS = Statement(
    id="collapse-lasts",
    section="3, Figure 2",
    sentence=(
        "On the train set, the model collapses and converges into a generation of repetitive tokens"
    ),
    supports="a run that has collapsed does not recover",
    test=(
        "share of the collapsed and watched runs that were not out of the state loop again (as "
        "many probes in a row that are not degenerate as make a collapse); interval of Clopper "
        f"and Pearson; {UNIT}; {WATCHED}"
    ),
    rule=(
        f"supported if the interval lies above {HALF}, not supported if below; {_FEW}; not tested "
        "where no collapsed run was watched"
    ),
    limits=(
        "What a model does much later is not seen: a run that stayed may leave yet. Which "
        f"repetition it is may change all the same. {_LIMITS}"
    ),
)
DEGRADES = Statement(
    id="degradation-is-significant",
    section="4",
    sentence=(
        "extended self-training of the GPT-2 model leads to significant performance degradation"
    ),
    supports=f"the validation loss ends more than {NEGLIGIBLE} nats per token above its start",
    test=(
        "rise of the validation loss on the first corpus from start to end, mean over runs with a "
        f"bootstrap interval over units; {UNIT}"
    ),
    rule=(
        f"supported if the interval lies above {NEGLIGIBLE} nats per token, not supported if "
        f"below; {_FEW}"
    ),
    limits=(
        "How far the loss rises depends on how long a run goes on after its collapse, and on the "
        f"text. {_LIMITS}"
    ),
)


def course_claims(group: str, runs: Sequence[Measured]) -> list[Claim]:
    """Judge how far the train loss falls, whether a collapse lasts, and how far the loss rises."""
    return [
        Claim(FALLS, _falls(group, runs)),
        Claim(LASTS, _lasts(group, runs)),
        Claim(DEGRADES, _degrades(group, runs)),
    ]


def _falls(group: str, runs: Sequence[Measured]) -> Finding:
    pairs = [(run, _fall(run)) for run in runs]
    known = [(run, fall) for run, fall in pairs if math.isfinite(fall)]
    if not known:
        return Finding("not tested", "no finished run with train losses", group=group)
    units, falls = units_of(group, [run for run, _ in known]), [fall for _, fall in known]
    count = sum(fall > 0 for fall in falls)
    mean, share, few = _mean(falls, units), units.share(count), units.too_few()
    reason = (
        f"the train loss fell by {mean.value:.3g} nats per token, in {count} of {len(known)} runs"
    )
    return Finding(
        "undecided" if few else decide((mean, 0.0), (share, HALF)),
        f"{few}; {reason}" if few else reason,
        as_effect("mean fall of the train loss, nats per token", mean),
        group=group,
        runs=len(known),
        levels=describe_levels(group, runs),
        details={**units.details(), "share_that_fell": vars(share)},
        reachable=units.reachable(HALF),
    )


def _fall(run: Measured) -> float:
    losses = [loss for loss in run.train_loss().values() if math.isfinite(loss)]
    return losses[0] - float(np.mean(losses[-LAST:])) if losses else math.nan


def _lasts(group: str, runs: Sequence[Measured]) -> Finding:
    ended = [run for run in runs if run.outcome.observed]
    watched = [run for run in ended if is_watched(run)]
    if ended and not watched:
        units, reason = units_of(group, ended), "no run was watched past its collapse"
        if few := units.too_few():
            reach = units.reachable(HALF)
            return Finding("undecided", f"{few}; {reason}", group=group, reachable=reach)
        return Finding("not tested", reason, group=group)
    if not ended:
        return Finding("not tested", "no run collapsed", group=group)
    units = units_of(group, watched)
    stayed = sum(_stayed(run) for run in watched)
    share, few = units.share(stayed), units.too_few()
    reason = f"{stayed} of {len(watched)} collapsed and watched runs stayed in a loop"
    if others := [run for run in ended if not is_watched(run)]:
        also = sum(_stayed(run) for run in others)
        reason += f"; of {len(others)} that were not watched for long enough {also} did"
    return Finding(
        "undecided" if few else decide((share, HALF)),
        f"{few}; {reason}" if few else reason,
        as_effect("share of collapsed runs that stay collapsed", share),
        group=group,
        runs=len(watched),
        levels=describe_levels(group, runs),
        details={**units.details(), "collapsed": len(ended), "watched": len(watched)},
        reachable=units.reachable(HALF),
    )


def _stayed(run: Measured) -> bool:
    return run.endings()["loop"]["left"] is None


def _degrades(group: str, runs: Sequence[Measured]) -> Finding:
    rises = [(run, run.outcome.rise) for run in runs]
    known = [(run, rise) for run, rise in rises if math.isfinite(rise)]
    if not known:
        return Finding("not tested", "no finished run with validation losses", group=group)
    units = units_of(group, [run for run, _ in known])
    mean, few = _mean([rise for _, rise in known], units), units.too_few()
    reason = f"the validation loss ends {mean.value:.3g} nats per token above its start"
    return Finding(
        "undecided" if few else decide((mean, NEGLIGIBLE)),
        f"{few}; {reason}" if few else reason,
        as_effect("mean rise of the validation loss, nats per token", mean),
        group=group,
        runs=len(known),
        levels=describe_levels(group, runs),
        details={
            **units.details(),
            "largest": max(rise for _, rise in known),
            "smallest": min(rise for _, rise in known),
        },
        reachable=reachable_by(supported=not few, not_supported=not few),
    )


def _mean(values: Sequence[float], units: Units) -> Interval:
    return bootstrap_interval(values, np.mean, CONFIDENCE, seed=SEED, units=units.labels)
