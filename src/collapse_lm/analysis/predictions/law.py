"""Predictions L1 to L10: temperature, truncation, optimizer and clip."""

import math
from collections.abc import Sequence

from collapse_lm.analysis.events import loop, rise
from collapse_lm.analysis.law import order_of, ratio_of
from collapse_lm.analysis.outcomes import Measured, at_risk
from collapse_lm.analysis.predictions.rules import (
    Judged,
    banded,
    each_run,
    mean_over_seeds,
    of_ratio,
    ordered,
)
from collapse_lm.analysis.predictions.select import (
    CLIP,
    OPTIMIZER,
    SAMPLING,
    TEMPERATURE,
    TOP_K,
    by_seed,
    differences,
    entropy_at_end,
    entropy_change,
    has_no_loop,
    rise_at_end,
    seeds_of,
    where,
)
from collapse_lm.analysis.settings import setting

_CUT = 500  # top-k where there is one
_NEUTRAL = {TEMPERATURE: 1.0, TOP_K: None}


def judge(runs: Sequence[Measured]) -> list[Judged]:
    """Judge L1 to L10 on the runs of the sweep `law`."""
    wide = [run for run in runs if setting(run.config, SAMPLING) != "bfloat16"]
    adam, sgd = (where(wide, {OPTIMIZER: kind}) for kind in ("adamw", "sgd"))
    hot = where(wide, {TEMPERATURE: 1.2})
    return [
        _order("L1", adam),
        _order("L2", sgd),
        each_run("L3", list(map(has_no_loop, hot)), seeds_of(hot), "temperature 1.2: no loop"),
        _hot_against_cold(adam),
        *_neutral(sgd, adam),
        _clip("L8", adam, "-1"),
        _clip("L9", sgd, "-.2"),
        _stored(runs, where(sgd, {**_NEUTRAL, CLIP: None})),
    ]


def _order(name: str, runs: Sequence[Measured]) -> Judged:
    timed, _ = at_risk(runs)
    arms = [
        where(timed, {TEMPERATURE: 0.8, TOP_K: _CUT}),
        where(timed, {TEMPERATURE: 1.0, TOP_K: _CUT}),
        where(timed, _NEUTRAL),
    ]
    order = order_of(arms, loop, lambda run: setting(run.config, CLIP))
    return ordered(name, order, "temperature .8 with top-k, 1 with top-k, 1 without")


def _hot_against_cold(adam: Sequence[Measured]) -> Judged:
    open_arms = where(adam, {TOP_K: None, CLIP: None})
    hot, cold = (where(open_arms, {TEMPERATURE: t}) for t in (1.2, 0.8))
    more = mean_over_seeds(differences(hot, cold, rise_at_end))
    return banded("L4", more, 0.3, math.inf, "1.5")


def _neutral(sgd: Sequence[Measured], adam: Sequence[Measured]) -> list[Judged]:
    plain, moment = (where(runs, {**_NEUTRAL, CLIP: None}) for runs in (sgd, adam))
    kept = mean_over_seeds(by_seed(plain, entropy_change))
    risen = mean_over_seeds(by_seed(plain, rise_at_end))
    lost = mean_over_seeds(by_seed(moment, entropy_change))
    return [
        banded("L5", kept, -0.1, 0.1, "-.03"),
        banded("L6", risen, 0.5, math.inf, "1"),
        banded("L7", lost, -math.inf, -0.15, "-.4"),
    ]


def _clip(name: str, runs: Sequence[Measured], predicted: str) -> Judged:
    neutral = where(runs, _NEUTRAL)
    clipped, free = where(neutral, {CLIP: 1.0}), where(neutral, {CLIP: None})
    less = mean_over_seeds(differences(clipped, free, entropy_at_end))
    return banded(name, less, -math.inf, 0.0, predicted)


def _stored(runs: Sequence[Measured], wide: Sequence[Measured]) -> Judged:
    narrow = where(runs, {SAMPLING: "bfloat16"})
    return banded("L10", of_ratio(ratio_of(wide, narrow, rise)), 0.8, 1.25, "1")
