"""Predictions R1 to R8: what becomes of a model over generations, by what is kept of earlier text.

All compare the end of generation 5 with that of generation 0, which is trained on human text.
"""

import math
from collections.abc import Callable, Sequence

from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.predictions.rules import (
    Judged,
    Number,
    banded,
    each_run,
    mean_over_seeds,
)
from collapse_lm.analysis.predictions.select import KIND, by_seed, differences, losses, where

KEEP, START, SHARE = "source.keep", "source.start", "source.real.share"
LAST = 5  # generation


def judge(runs: Sequence[Measured]) -> list[Judged]:
    """Judge R1 to R8 on the runs of the sweep `generations`."""
    runs = where(runs, {KIND: "generations"})
    scratch = where(runs, {START: "scratch"})
    plain = where(scratch, {SHARE: 0})
    replace, accumulate, subsample = (
        where(plain, {KEEP: keep}) for keep in ("replace", "accumulate", "subsample")
    )
    base = where(runs, {START: "base"})
    tuned, tuned_on_all = (where(base, {KEEP: keep}) for keep in ("replace", "accumulate"))
    mixed = [run for run in scratch if run not in plain]
    distinct, rare = _change("pool.distinct_2"), _change("types.rare_share")
    return [
        banded("R1", mean_over_seeds(by_seed(replace, rise)), 0.3, 0.9, "replace: rise"),
        _falls("R2", "rise: replace > subsample > accumulate", replace, subsample, accumulate),
        banded("R3", _share_of(accumulate, replace), -math.inf, 0.25, "rise: accumulate / replace"),
        banded("R4", _share_of(mixed, replace), 0.1, 0.8, "rise: a quarter human / replace"),
        banded("R5", mean_over_seeds(by_seed(replace, distinct)), -0.06, 0.03, "distinct bigrams"),
        banded("R6", mean_over_seeds(by_seed(replace, rare)), -0.06, 0.04, "rare types"),
        banded("R7", mean_over_seeds(by_seed(tuned, rise)), 0.015, 0.1, "tuned: rise"),
        banded("R8", _apart(tuned_on_all, tuned), -0.1, 0.0, "tuned: accumulate - replace"),
    ]


def rise(run: Measured) -> float:
    """Validation loss at the end of the last generation less that of generation 0, in nats."""
    return _between(run, losses(run))


def _change(name: str) -> Callable[[Measured], float]:
    """The same of a number of the last probes."""
    return lambda run: _between(run, run.series(name))


def _between(run: Measured, values: dict[int, float]) -> float:
    return at_end(run, values, LAST) - at_end(run, values, 0)


def at_end(run: Measured, values: dict[int, float], generation: int) -> float:
    """The last of the values, by update, that lie in a generation; NaN without one."""
    numbers = run.series("generation")
    found = [value for update, value in values.items() if numbers.get(update) == generation]
    return found[-1] if found else math.nan


def _share_of(some: Sequence[Measured], all_of: Sequence[Measured]) -> Number:
    """The rise of one arm as a share of that of another, in each seed that both have."""
    ones, others = by_seed(some, rise), by_seed(all_of, rise)
    shares = {seed: [ones[seed][0] / others[seed][0]] for seed in ones if seed in others}
    return mean_over_seeds(shares)


def _apart(first: Sequence[Measured], second: Sequence[Measured]) -> Number:
    return mean_over_seeds(differences(first, second, rise))


def _falls(name: str, words: str, *arms: Sequence[Measured]) -> Judged:
    """In each seed, the rise is largest in the first arm and least in the last."""
    found = [by_seed(arm, rise) for arm in arms]
    seeds = sorted(set(found[0]).intersection(*found[1:]))
    in_order = [found[0][s] > found[1][s] > found[2][s] for s in seeds]
    return each_run(name, in_order, len(seeds), words)
