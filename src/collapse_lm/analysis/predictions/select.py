"""Runs of an arm, and numbers of a run that predictions speak of. Pure."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.settings import setting

Runs = Sequence[Measured]
KIND, OPTIMIZER = "source.kind", "training.optimizer.kind"
RATE, CLIP = "training.learning_rate", "training.grad_clip"
TEMPERATURE, TOP_K = "sampling.temperature", "sampling.top_k"
BATCH, SAMPLING = "sampling.batch_size", "precision.sampling"


def where(runs: Runs, values: dict[str, Any]) -> list[Measured]:
    """The runs that have these values by dotted key."""
    return [run for run in runs if all(setting(run.config, k) == v for k, v in values.items())]


def seeds_of(runs: Runs) -> int:
    """Number of distinct seeds."""
    return len({run.outcome.seed for run in runs})


def by_seed(runs: Runs, number: Callable[[Measured], float]) -> dict[int, list[float]]:
    """A number of each run, by its seed."""
    found: dict[int, list[float]] = {}
    for run in runs:
        found.setdefault(run.outcome.seed, []).append(number(run))
    return found


def differences(
    first: Runs, second: Runs, number: Callable[[Measured], float]
) -> dict[int, list[float]]:
    """The number of the first arm less that of the second, in each seed that both have."""
    one, other = by_seed(first, number), by_seed(second, number)
    return {
        seed: [float(np.mean(one[seed]) - np.mean(other[seed]))] for seed in one if seed in other
    }


def has_no_loop(run: Measured) -> bool:
    """True for a run that the rule did not see collapse."""
    return not run.outcome.observed


def losses(run: Measured) -> dict[int, float]:
    """Validation loss on the first corpus by update."""
    corpora = run.outcome.corpora
    return run.validation_loss(corpora[0]) if corpora else {}


def rise_at_end(run: Measured) -> float:
    """The last validation loss less that of the base model, in nats per token."""
    found = list(losses(run).values())
    return found[-1] - found[0] if found else math.nan


def entropies(run: Measured) -> list[float]:
    """Entropy of each probe, in order."""
    return list(run.series("probe.entropy").values())


def entropy_at_end(run: Measured, probes: int = 20) -> float:
    """Mean entropy of the last probes, in nats."""
    return float(np.mean(entropies(run)[-probes:])) if entropies(run) else math.nan


def entropy_change(run: Measured, last: int = 20, first: int = 5) -> float:
    """Mean entropy of the last probes against that of the first, as a relative change."""
    found = entropies(run)
    return float(np.mean(found[-last:]) / np.mean(found[:first]) - 1) if found else math.nan
