"""Claims on how runs end: a train loss near 0, and collapse into repetition in run after run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from collapse_lm.analysis.claims.units import UNIT, Units, units_of
from collapse_lm.analysis.claims.verdicts import (
    ALMOST_ZERO,
    CONFIDENCE,
    CONSISTENT,
    FEWEST_SEEDS,
    FEWEST_UNITS,
    HALF,
    PAPER_UPDATES,
    SEED,
    SURELY,
    Claim,
    Finding,
    Statement,
    Verdict,
    as_effect,
    decide,
    fewest_above,
    reachable_by,
    share_of,
)
from collapse_lm.analysis.claims.watched import WATCHED, is_watched
from collapse_lm.analysis.levels import describe_levels
from collapse_lm.analysis.outcomes import Measured, Outcome
from collapse_lm.analysis.stats.trend import Interval, bootstrap_interval

CLOSE_TO_ZERO = Statement(
    id="train-loss-nears-zero",
    section="3",
    sentence=(
        "This phenomenon is exemplified by a significant decrease in loss on generated (train) "
        "data, almost reaching 0 loss."
    ),
    supports=f"a train loss below {ALMOST_ZERO} nats per token in runs that collapse",
    test=(
        "share of the collapsed runs whose lowest train loss is below "
        f"{ALMOST_ZERO} nats per token, with the interval of Clopper and Pearson; medians over "
        f"runs with a bootstrap interval over units; {UNIT}"
    ),
    rule=(
        f"supported if the interval of the share lies above {HALF}; not supported if it lies below "
        f"even when each run that was not watched is counted as one that would have got there "
        f"({WATCHED}); undecided otherwise, without a collapse, and "
        f"where the collapsed runs are fewer than {FEWEST_UNITS} units or have fewer than "
        f"{FEWEST_SEEDS} seeds"
    ),
    limits=(
        "A run that stops soon after its collapse is not seen to fall further, so the lowest loss "
        "is an upper bound. A train loss below the same threshold is one of the criteria of "
        "collapse: claims.json counts the runs in which it fired. Runs at several rates that share "
        "a seed share random numbers, so the interval is somewhat too short."
    ),
)
CONSISTENTLY = Statement(
    id="collapse-is-consistent",
    section="4",
    sentence=(
        "extended self-training of the GPT-2 model leads to significant performance degradation, "
        "with models collapsing into repetitive sequences consistently."
    ),
    supports="nearly every run collapses, and its samples are then loops or poor in new 4-grams",
    test=(
        "share of runs that collapsed and of whose last five samples more than half are repetitive "
        "(loop share at least .5 or seq-rep-4 at least .6), as opposed to a low train loss only; "
        f"interval of Clopper and Pearson; {UNIT}"
    ),
    rule=(
        f"supported if the share is at least {CONSISTENT} and its interval above {SURELY}; not "
        f"supported if the interval lies below {CONSISTENT} even when each run that was cut short "
        f"(censored before {PAPER_UPDATES} updates, the paper's horizon) is counted as a "
        f"collapse into repetition; undecided otherwise, and with fewer than {FEWEST_UNITS} units "
        f"or {FEWEST_SEEDS} seeds"
    ),
    limits=(
        "The share is that of these rates within these numbers of updates; a lower rate or a "
        "shorter horizon makes it smaller. The runs differ in their learning rate, so they are "
        "no sample of one population, and share random numbers where they share a seed. That a "
        "collapse is repetitive is nearly its definition; that it comes in every run is not. "
        "Degradation of the validation loss is judged by the claims on it."
    ),
)


def close_to_zero_claim(group: str, runs: Sequence[Measured]) -> Claim:
    """Judge "a significant decrease in loss on generated data, almost reaching 0 loss"."""
    ended = [run for run in runs if run.outcome.observed]
    if not runs:
        return Claim(CLOSE_TO_ZERO, Finding("not tested", "no finished run"))
    if not ended:
        finding = Finding(
            "undecided", "no run collapsed", group=group, runs=0, reachable=("undecided",)
        )
        return Claim(CLOSE_TO_ZERO, finding)
    collapsed, units = [run.outcome for run in ended], units_of(group, ended)
    near = [o for o in collapsed if o.train_lowest < ALMOST_ZERO]
    unseen = [run for run in ended if not is_watched(run)]
    short = [run for run in unseen if run.outcome.train_lowest >= ALMOST_ZERO]
    share, at_best = units.share(len(near)), units.share(len(near) + len(short))
    few = units.too_few()
    reason = (
        f"the train loss fell below {ALMOST_ZERO} nats per token in "
        f"{len(near)} of {len(collapsed)} collapsed runs; of the others {len(short)} were not "
        "watched for long enough"
    )
    finding = Finding(
        "undecided" if few else _with_horizon(share, at_best, HALF),
        f"{few}; {reason}" if few else reason,
        as_effect(f"share of collapsed runs whose train loss falls below {ALMOST_ZERO}", share),
        group=group,
        runs=len(collapsed),
        levels=describe_levels(group, runs),
        details={
            **units.details(),
            "watched": len(ended) - len(unseen),
            **_train_losses(collapsed, units),
        },
        reach=_reach(units, HALF),
        reachable=reachable_by(
            supported="supported" in units.reachable(HALF),
            not_supported=not few and units.share(len(unseen)).upper < HALF,
        ),
    )
    return Claim(CLOSE_TO_ZERO, finding)


def _train_losses(collapsed: Sequence[Outcome], units: Units) -> dict[str, Any]:
    """Details of the train losses, in nats per token."""
    return {
        "median_first_train_loss": vars(_median([o.train_first for o in collapsed], units)),
        "median_lowest_train_loss": vars(_median([o.train_lowest for o in collapsed], units)),
        "median_last_train_loss": vars(_median([o.train_last for o in collapsed], units)),
        "share_last_below": vars(units.share(sum(o.train_last < ALMOST_ZERO for o in collapsed))),
        "runs_that_end_below_their_start": sum(o.train_last < o.train_first for o in collapsed),
        "runs_where_train_loss_was_a_criterion": sum("train_loss" in o.criteria for o in collapsed),
    }


def consistent_claim(group: str, runs: Sequence[Measured]) -> Claim:
    """Judge "models collapsing into repetitive sequences consistently" on the runs of a group."""
    if not runs:
        return Claim(CONSISTENTLY, Finding("not tested", "no finished run"))
    outcomes, units = [run.outcome for run in runs], units_of(group, runs)
    ended = [run for run in runs if run.outcome.observed]
    repetitive = sum(run.outcome.repetitive > HALF for run in ended)
    open_runs = sum(not o.observed and o.time < PAPER_UPDATES for o in outcomes)
    share, at_best = units.share(repetitive), units.share(repetitive + open_runs)
    reason = (
        f"{len(ended)} of {len(runs)} runs collapsed, {repetitive} of them into "
        f"repetition; censored before {PAPER_UPDATES} updates: {open_runs}"
    )
    few = units.too_few()
    finding = Finding(
        "undecided" if few else _consistency(share, at_best),
        f"{few}; {reason}" if few else reason,
        as_effect("share of runs that collapsed into repetition", share),
        group=group,
        runs=len(runs),
        levels=describe_levels(group, runs),
        details={
            **units.details(),
            "share_collapsed": vars(units.share(len(ended))),
            "share_repetitive_of_collapsed": vars(units_of(group, ended).share(repetitive)),
            "share_if_cut_short_runs_collapsed": vars(at_best),
            "diverged": sum(o.status == "diverged" for o in outcomes),
            "longest_run": max(o.updates for o in outcomes),
        },
        reach=_reach(units, SURELY),
        reachable=units.reachable(SURELY, CONSISTENT),
    )
    return Claim(CONSISTENTLY, finding)


def _consistency(share: Interval, at_best: Interval) -> Verdict:
    if share.value >= CONSISTENT and share.lower > SURELY:
        return "supported"
    return "not supported" if at_best.upper < CONSISTENT else "undecided"


def _with_horizon(share: Interval, at_best: Interval, threshold: float) -> Verdict:
    """Decide so that runs which were cut short cannot speak against a claim."""
    verdict = decide((share, threshold))
    return "undecided" if verdict == "not supported" and at_best.upper >= threshold else verdict


def _median(values: Sequence[float], units: Units) -> Interval:
    """Median over runs, in nats per token; a run without the number is left out."""
    known = {run: value for run, value in enumerate(values) if not np.isnan(value)}
    if not known:
        return Interval(np.nan, np.nan, np.nan, 0)
    return bootstrap_interval(
        list(known.values()),
        lambda x: float(np.median(x)),
        CONFIDENCE,
        seed=SEED,
        units=[units.labels[run] for run in known],
    )


def _reach(units: Units, threshold: float) -> str:
    """Say how high the interval of a share can lie, and how many units "supported" asks for."""
    least = share_of(1, 1, units.effective).lower
    said = f"If all of {units.told()} agree, the interval of their share still reaches to "
    said += f"{least:.3f}"
    if not least > threshold:
        needed = f"at least {fewest_above(threshold)} {units.name}s are needed"
        said += f", which is not above {threshold}: supported is out of reach, {needed}"
    return f"{said}."
