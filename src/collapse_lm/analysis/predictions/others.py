"""Predictions of `truncation` (T), `batch` (B), `sizes` (S) and `law-smollm2` (M)."""

import math
from collections.abc import Sequence

from collapse_lm.analysis.events import entropy_halved, loop
from collapse_lm.analysis.law import exponent, law_of, order_of, ratio_of
from collapse_lm.analysis.outcomes import Measured, at_risk
from collapse_lm.analysis.predictions.rules import (
    Judged,
    Number,
    banded,
    each_run,
    of_exponent,
    of_ratio,
    ordered,
)
from collapse_lm.analysis.predictions.select import (
    BATCH,
    OPTIMIZER,
    TEMPERATURE,
    TOP_K,
    has_no_loop,
    rise_at_end,
    seeds_of,
    where,
)
from collapse_lm.analysis.settings import levels_of, setting
from collapse_lm.analysis.sizes import SizeEffect, effects_of_size

# Mass that ladder:128x4 loses to top-k at temperature 1, on its own samples
# (docs/scripts/measure_cut_mass.py, 40 samples). Measured before any run of the sweep.
CUT_MASS = {50: 0.3771, 100: 0.2984, 200: 0.2227, 500: 0.1273, 1000: 0.0634}
_SIZES = (("S1", "4.1", 2.0, 8.0), ("S2", "1.45", 0.8, 2.5), ("S3", ".51", 0.25, 0.95))


def judge_truncation(runs: Sequence[Measured]) -> list[Judged]:
    """Judge T1 and T2."""
    cut = [run for run in runs if setting(run.config, TOP_K) in CUT_MASS]
    number = Number(math.nan, note="no runs with a cut")
    if cut:
        masses = [CUT_MASS[setting(run.config, TOP_K)] for run in cut]
        times, seeds = [entropy_halved(run) for run in cut], [run.outcome.seed for run in cut]
        number = of_exponent(exponent(times, masses, seeds))
    arms = [level.runs for level in levels_of([TOP_K], runs)]  # numbers by size, then none
    order = order_of(arms, entropy_halved)
    return [
        banded("T1", number, -1.5, -0.7, "-1"),
        ordered("T2", order, "smaller k, earlier"),
    ]


def judge_batch(runs: Sequence[Measured]) -> list[Judged]:
    """Judge B1 and B2."""
    sharp, _ = at_risk(where(runs, {OPTIMIZER: "adamw", TEMPERATURE: 0.8}))
    one, sixteen = where(sharp, {BATCH: 1}), where(sharp, {BATCH: 16})
    neutral = where(runs, {OPTIMIZER: "sgd", TEMPERATURE: 1.0})
    number = Number(math.nan, note="no runs")
    if neutral:
        number = of_exponent(law_of(BATCH, "validation +0.5 nats", neutral).exponent)
    ratio = Number(math.nan, note="no runs")
    if one and sixteen:
        ratio = of_ratio(ratio_of(one, sixteen, loop))
    return [
        banded("B1", ratio, 0.0, 1.1, ".8"),
        banded("B2", number, 0.7, 1.3, "1"),
    ]


def judge_sizes(runs: Sequence[Measured]) -> list[Judged]:
    """Judge S1 to S3."""
    timed, _ = at_risk(runs)
    found = effects_of_size(timed)[: len(_SIZES)]
    effects: list[SizeEffect | None] = [*found] or [None] * len(_SIZES)
    return [
        banded(name, _number(effect), low, high, predicted)
        for (name, predicted, low, high), effect in zip(_SIZES, effects, strict=True)
    ]


def _number(effect: SizeEffect | None) -> Number:
    if effect is None:
        return Number(math.nan, note="fewer than two sizes")
    return Number(effect.ratio, effect.lower, effect.upper)


def judge_smollm2(runs: Sequence[Measured]) -> list[Judged]:
    """Judge M1 and M2."""
    seeds = seeds_of(runs)
    risen = [rise_at_end(run) > 0 for run in runs]
    return [
        each_run("M1", list(map(has_no_loop, runs)), seeds, "no loop"),
        each_run("M2", risen, seeds, "the validation loss is up"),
    ]
