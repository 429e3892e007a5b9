"""Predictions D1 to D8: the exponents of times in the learning rate."""

import math
from collections.abc import Sequence

import numpy as np

from collapse_lm.analysis.events import dose_at, loop, rise
from collapse_lm.analysis.law import law_of
from collapse_lm.analysis.outcomes import Measured, at_risk
from collapse_lm.analysis.predictions.rules import (
    Judged,
    Number,
    banded,
    mean_over_seeds,
    of_exponent,
)
from collapse_lm.analysis.predictions.select import OPTIMIZER, RATE, TEMPERATURE, by_seed, where

_EXPONENTS = (  # name, optimizer, temperature, event, exponent in words, band
    ("D1", "adamw", 0.8, "loop", "-1", (-1.25, -0.75)),
    ("D2", "sgd", 0.8, "loop", "-1", (-1.25, -0.75)),
    ("D3", "adamw", 0.8, "validation +0.5 nats", "-1", (-1.25, -0.75)),
    ("D4", "sgd", 0.8, "validation +0.5 nats", "-1", (-1.25, -0.75)),
    ("D5", "sgd", 1.0, "validation +0.5 nats", "-2", (-2.4, -1.6)),
    ("D6", "adamw", 1.0, "validation +0.5 nats", "-1.25", (-1.75, -0.75)),
)


def judge(runs: Sequence[Measured]) -> list[Judged]:
    """Judge D1 to D8 on the runs of the sweep `dose`."""
    found = []
    for name, optimizer, temperature, event, predicted, band in _EXPONENTS:
        arm = _arm(runs, optimizer, temperature)
        members = at_risk(arm)[0] if event == "loop" else arm
        number = Number(math.nan, note="no runs")
        if members:
            number = of_exponent(law_of(RATE, event, members).exponent)
        found.append(banded(name, number, *band, predicted))
    return [*found, _dose_at_loop(runs), _entropy_at_rise(runs)]


def _arm(runs: Sequence[Measured], optimizer: str, temperature: float) -> list[Measured]:
    return where(runs, {OPTIMIZER: optimizer, TEMPERATURE: temperature})


def _dose_at_loop(runs: Sequence[Measured]) -> Judged:
    """Censored runs have no dose at a loop; where there are any, the mean is too low."""
    seen = [r for r in at_risk(_arm(runs, "adamw", 0.8))[0] if loop(r).observed]
    logs = mean_over_seeds(by_seed(seen, lambda run: math.log(dose_at(run, loop(run).time))))
    mean = Number(math.exp(logs.value), math.exp(logs.lower), math.exp(logs.upper), logs.note)
    return banded("D7", mean, 2e-3, 5e-3, "3.3e-3")


def _entropy_at_rise(runs: Sequence[Measured]) -> Judged:
    neutral = _arm(runs, "sgd", 1.0)
    highest = max((run.outcome.learning_rate for run in neutral), default=0.0)
    seen = [r for r in neutral if r.outcome.learning_rate == highest and rise(r).observed]
    change = mean_over_seeds(by_seed(seen, _change_at_rise))
    return banded("D8", change, -0.15, 0.15, "-.05")


def _change_at_rise(run: Measured) -> float:
    """Mean entropy of the five probes nearest to the rise against that of the first five."""
    found, time = run.series("probe.entropy"), rise(run).time
    nearest = sorted(found, key=lambda update: abs(update - time))[:5]
    first = list(found.values())[:5]
    return float(np.mean([found[u] for u in nearest]) / np.mean(first) - 1)
