"""How long runs will take at most, from a short measurement of each kind of run."""

from collections.abc import Iterable

from collapse_lm.config import Config
from collapse_lm.experiment.build import prepare
from collapse_lm.machine.doctor import measure_update
from collapse_lm.machine.processor import Estimate, OtherWork


def longest(left: Iterable[tuple[Config, int]], jobs: int = 1) -> Estimate:
    """Sum up what runs take if none of them collapses.

    Args:
        left: configurations with the updates already done. One run of each kind (model,
            sampling, evaluation; neither seed nor learning rate) is measured.
        jobs: runs at a time.
    """
    work = OtherWork()
    measured: dict[str, float] = {}
    total = 0.0
    for config, done in left:
        kind = _kind(config)
        if kind not in measured:
            measured[kind] = measure_update(config, prepare(config)).total
        total += measured[kind] * (config.run.max_updates - done)
    return work.estimate(total / jobs)


def _kind(config: Config) -> str:
    """All of a configuration that its pace depends on."""
    training = config.training.model_dump(include={"window", "steps_per_update", "dropout"})
    sampling = config.sampling.model_dump(exclude={"temperature"})
    return repr((config.model, config.precision, sampling, config.evaluation, training))
