"""Predictions C1 to C8: the same update rule with other texts and other steps."""

from collections.abc import Callable, Sequence

import numpy as np

from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.predictions.rules import Judged, each_run
from collapse_lm.analysis.predictions.select import (
    KIND,
    OPTIMIZER,
    entropies,
    has_no_loop,
    losses,
    rise_at_end,
    seeds_of,
    where,
)

_NOISE = 0.05  # nats that a random direction may do
_RUIN = 1.0  # nats that shuffled text does
_LAST = 3  # probes at the end


def judge(runs: Sequence[Measured]) -> list[Judged]:
    """Judge C1 to C8 on the runs of the sweep `controls`."""
    trained = [run for run in runs if run.outcome.learning_rate > 0]
    plain = where(trained, {OPTIMIZER: "adamw"})
    own, frozen, real, shuffled = (
        where(plain, {KIND: kind}) for kind in ("own", "frozen", "real", "shuffled")
    )
    moved = where(trained, {KIND: "own", OPTIMIZER: "random"})
    still = [run for run in runs if run.outcome.learning_rate == 0]
    return [
        _each("C1", own, lambda run: not has_no_loop(run), "own: a loop"),
        _each("C2", frozen, has_no_loop, "frozen: no loop"),
        _each("C3", real, has_no_loop, "real: no loop"),
        _each("C4", shuffled, _is_ruined, "shuffled: no loop, up by more than 1 nat"),
        _each("C5", moved, _is_kept, "random direction: no loop, within .05 nats"),
        _each("C6", still, _stands_still, "learning rate 0: the base model's loss"),
        _rises(own, frozen, real),
        _entropies(own, frozen),
    ]


def _each(
    name: str, runs: Sequence[Measured], is_so: Callable[[Measured], bool], words: str
) -> Judged:
    return each_run(name, [is_so(run) for run in runs], seeds_of(runs), words)


def _is_ruined(run: Measured) -> bool:
    return has_no_loop(run) and rise_at_end(run) > _RUIN


def _is_kept(run: Measured) -> bool:
    return has_no_loop(run) and abs(rise_at_end(run)) < _NOISE


def _stands_still(run: Measured) -> bool:
    return len(set(losses(run).values())) == 1


def _rises(*arms: Sequence[Measured]) -> Judged:
    """In each seed, the validation loss has risen most in the first arm, least in the last."""
    found = [{run.outcome.seed: rise_at_end(run) for run in arm} for arm in arms]
    seeds = sorted(set(found[0]).intersection(*found[1:]))
    in_order = [found[0][s] > found[1][s] > found[2][s] for s in seeds]
    return each_run("C7", in_order, len(seeds), "rise of the loss: own > frozen > real")


def _entropies(own: Sequence[Measured], frozen: Sequence[Measured]) -> Judged:
    low = [_share_left(run) < 0.3 for run in own]
    high = [_share_left(run) > 0.6 for run in frozen]
    words = "entropy left: own below .3, frozen above .6"
    return each_run("C8", [*low, *high], min(seeds_of(own), seeds_of(frozen)), words)


def _share_left(run: Measured) -> float:
    found = entropies(run)
    return float(np.mean(found[-_LAST:])) / found[0]
