"""Runs of a toy that leave nothing on disk: the same parts, the same loop, many updates."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from collapse_lm.config import load_config
from collapse_lm.config.handing import Handed, hand_over
from collapse_lm.experiment.build import prepare
from collapse_lm.loop import self_train
from collapse_lm.measures.names import Row

_PLAIN = {
    "precision": "float32",
    "device": "cpu",
    "sampling.temperature": 1,
    "sampling.top_k": None,
    "sampling.max_new_tokens": 32,
    "sampling.speculation": "off",
    "training.grad_clip": None,
    "training.weight_decay": 0,
    "evaluation.context": 1024,
    "evaluation.every": 1_000_000,
    "collapse.stop": False,
}


def settings(model: str, seed: int, updates: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a run of a toy, by dotted name: nothing is cut, clipped or decayed.

    The validation text has the toy's first distribution; it is scored at the beginning and at
    the end only.
    """
    own = {"model": model, "seed": seed, "evaluation.corpora": [model], "run.max_updates": updates}
    return {**_PLAIN, **own, **changes}


def trial(
    model: str,
    seed: int = 0,
    updates: int = 100,
    changes: Mapping[str, Any] | None = None,
    **parts: Any,
) -> Iterator[Row]:
    """Yield the rows of a run, row 0 first; whoever has seen enough stops asking.

    Args:
        model: name of a toy.
        seed: of the run.
        updates: at most.
        changes: keys of the configuration by dotted name.
        parts: source, objective, optimizer, measures, as `collapse_lm.run` takes them.

    Raises:
        UserError: for keys or parts that do not fit.
    """
    config = load_config({"extends": "quickstart"}, settings(model, seed, updates, changes or {}))
    made = prepare(hand_over(config, Handed(**parts)))
    for record in self_train(made.state, made.experiment):
        yield record.row


def passage(points: Iterable[tuple[float, float]], level: float) -> float | None:
    """When a series first gets to a level, by a straight line from the point before.

    Args:
        points: (time, value), in order of time; not all are read.
        level: at the side of the first value it is come from.

    Returns:
        The time; None if it never does.
    """
    series = iter(points)
    before = next(series, None)
    is_rising = before is not None and before[1] < level
    for now in series:
        assert before is not None
        if (now[1] >= level) if is_rising else (now[1] <= level):
            share = (level - before[1]) / (now[1] - before[1])
            return before[0] + share * (now[0] - before[0])
        before = now
    return None
