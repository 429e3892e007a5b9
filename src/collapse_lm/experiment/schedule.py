"""The learning rate as a function of the update, so that a resume needs no memory of it.

Linear and cosine are those of transformers (`get_linear_schedule_with_warmup` and
`get_cosine_schedule_with_warmup`), with updates counted from 1 and an end that may lie above 0.
"""

import math

from collapse_lm.config.sections import ScheduleConfig


def factor(schedule: ScheduleConfig, update: int, length: int | None = None) -> float:
    """The share of `training.learning_rate` that the steps of an update have.

    Args:
        schedule: kind, warm-up, length and end.
        update: from 1 on; of its generation, where the source has generations.
        length: of the generation, in updates: that of the schedule, where it has none.
    """
    if update < schedule.warmup:
        return update / schedule.warmup
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "inverse_sqrt":
        return math.sqrt(max(schedule.warmup, 1) / update)
    updates = schedule.updates or length
    assert updates is not None  # the configuration asks for it
    done = min(1.0, (update - schedule.warmup) / max(1, updates - schedule.warmup))
    falling = 1 - done if schedule.kind == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return schedule.final + (1 - schedule.final) * falling
