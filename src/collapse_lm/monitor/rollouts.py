"""What the texts tell that the trainer samples itself, and what their first ones were like.

A trainer's prompts change from step to step, and so do its texts: the first six observations
stand for the start. Until they are known only loops can be told. Then the last five observations
are looked at together, as many texts of each as of the first ones, each cut to their mean length.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from collapse_lm.config.sections import CollapseRule
from collapse_lm.errors import UserError
from collapse_lm.experiment.base_samples import pool_levels
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.facts import text_metrics
from collapse_lm.measures.names import Number, Row
from collapse_lm.measures.pool import PROBES, Pool
from collapse_lm.measures.seen import degenerate_share
from collapse_lm.monitor.chance import distinct_beyond_chance
from collapse_lm.monitor.pooled import common_length, pooled
from collapse_lm.monitor.settings import BASE_PROBES
from collapse_lm.monitor.states import States, Told, relative
from collapse_lm.monitor.tokens import require_texts, spelled, token_ids

_OF_PROBES = {  # names of rollouts by the names of a probe that the states are read from
    "text.loop_share": "loop_share",
    "text.seq_rep_4": "seq_rep_4",
    "probe.degenerate_share": "degenerate_share",
    "probe.length": "length",
    "probe.loss": "loss",
    "pool.overlap": "overlap",
    **{f"pool.distinct_{n}": f"pool_distinct_{n}" for n in (1, 2, 3, 4)},
}
_LOOP_ALONE = ("text.loop_share", "text.seq_rep_4", "probe.degenerate_share", "probe.loss")


@dataclass(frozen=True)
class Rollouts:
    """The texts of one step, as they are measured.

    Attributes:
        texts: their ids and strings, with log-probabilities where these are one per id.
        loss: mean -log p (nats per token) under the model that drew them; NaN if unknown.
        clipped: share that was cut at the limit; NaN if unknown.
    """

    texts: tuple[Text, ...]
    loss: float = math.nan
    clipped: float = math.nan


class RolloutStates:
    """The states of the rollouts as they come, with their numbers.

    Args:
        rule: thresholds.
    """

    def __init__(self, rule: CollapseRule) -> None:
        self.states = States(rule)
        self._rule = rule
        self._pool, self._lengths = Pool(), deque[float](maxlen=PROBES)
        self._cut: tuple[int | None, int | None] = None, None  # texts, and tokens of each
        self._first: list[tuple[Text, ...]] | None = []  # observations until the levels are known
        self._is_first = True

    def see(self, step: int, seen: Rollouts) -> tuple[dict[str, Number], Row, Told]:
        """Take the texts of a step.

        Returns:
            The numbers by the names of rollouts; the row by the names of a probe, as the states
            read it; the states.
        """
        values = self._values(seen)
        told = {f"rollouts.{_OF_PROBES.get(n, n.removeprefix('text.'))}": values[n] for n in values}
        if self._is_first:
            self._is_first = False
            self.states.begin(step, float(values["probe.degenerate_share"]))
        is_known = self._first is None
        told |= self._levels(step, seen)
        self._lengths.append(float(values["probe.length"]))
        told["rollouts.pool_length"] = length = fmean(self._lengths)
        if not is_known:
            loops = {n: values[n] for n in _LOOP_ALONE if n in values}
            return told, Row(step, values), self.states.see(Row(step, loops))
        row = Row(step, values | {"probe.length": length})
        return told, row, self.states.see(row)

    def _values(self, seen: Rollouts) -> dict[str, Number]:
        texts = [text for text in seen.texts if text.ids]
        values: dict[str, Number] = {
            "count": len(seen.texts),
            "probe.length": fmean(len(text.ids) for text in seen.texts),
            "probe.degenerate_share": _degenerate(seen.texts, self._rule),
        }
        if not math.isnan(seen.clipped):
            values["clipped"] = seen.clipped
        if not math.isnan(seen.loss):
            values["probe.loss"] = seen.loss
        if texts:
            values |= text_metrics(Batch(tuple(texts)))
        most, length = self._cut
        return values | pooled(self._pool, [text.ids for text in seen.texts[:most]], length)

    def _levels(self, step: int, seen: Rollouts) -> dict[str, Number]:
        """The levels of the start with the observation that makes them known."""
        if self._first is None:
            return {}
        self._first.append(seen.texts)
        if len(self._first) < BASE_PROBES:
            return {}
        levels = levels_of(self._first, self._rule)
        self._cut = cut_of(self._first)
        first = cut_to(self._first, *self._cut)
        self._pool, self._first = Pool(), None
        for texts in first:
            self._pool.see(texts)
        self.states.take_levels(Row(step, levels), self._relative(levels, first))
        named = {n.removeprefix("base_samples."): v for n, v in levels.items()}
        return {f"rollouts.start_{n}": v for n, v in named.items() if n != "count"}

    def _relative(
        self, levels: Mapping[str, Number], first: Sequence[Sequence[Sequence[int]]]
    ) -> CollapseRule:
        rule = relative(self._rule, float(levels["base_samples.degenerate_share"]))
        distinct = distinct_beyond_chance(self._rule, first)
        return rule.model_copy(update={"distinct": distinct})


def cut_of(first: Sequence[Sequence[Text]]) -> tuple[int, int]:
    """How many texts of an observation, and tokens of each, are compared with the first ones."""
    return min(map(len, first)), common_length([text.ids for texts in first for text in texts])


def cut_to(first: Sequence[Sequence[Text]], most: int, length: int) -> list[list[tuple[int, ...]]]:
    """Token ids of so many texts of each observation, so many of each."""
    return [[text.ids[:length] for text in texts[:most]] for texts in first]


def levels_of(first: Sequence[Sequence[Text]], rule: CollapseRule) -> dict[str, Number]:
    """What the first observations were like, by the names of base_samples.

    Args:
        first: the texts of each.
        rule: says which are degenerate.
    """
    least, length = cut_of(first)
    texts = [text for texts in first for text in texts]
    told: dict[str, Number] = {
        "base_samples.count": len(texts),
        "base_samples.length": fmean(len(text.ids) for text in texts),
        "base_samples.degenerate_share": _degenerate(texts, rule),
    }
    cut = cut_to(first, least, length)
    return told | pool_levels([ids for texts in cut for ids in texts], least)


def _degenerate(texts: Sequence[Text], rule: CollapseRule) -> float:
    """Share of the texts that are degenerate; an empty one is not."""
    return sum(degenerate_share([text], rule) for text in texts if text.ids) / len(texts)


def rollouts_of(texts: Sequence[Any], log_probs: Any, clipped: Any, tokenizer: Any) -> Rollouts:
    """The texts of a step as they are given.

    Args:
        texts: strings, or lists of token ids.
        log_probs: per text the log p (nats) of its tokens, under the model that drew it; None
            if unknown.
        clipped: per text, true where it was cut at the limit; None if unknown.
        tokenizer: of the strings; None takes words and punctuation marks.

    Raises:
        UserError: for what is no text, and for another number of the others.
    """
    given = require_texts(texts)
    _require_each("log_probs", log_probs, given)
    _require_each("clipped", clipped, given)
    numbers = [] if log_probs is None else [_plain(one) for one in log_probs]
    made = []
    for place, text in enumerate(given):
        ids = token_ids(text, tokenizer)
        own = numbers[place] if numbers and len(numbers[place]) == len(ids) else ()
        made.append(Text((), ids, "rollouts", spelled(text, ids, tokenizer), own))
    known = [value for one in numbers for value in one]
    return Rollouts(
        tuple(made),
        loss=-fmean(known) if known else math.nan,
        clipped=math.nan if clipped is None else fmean(map(bool, clipped)),
    )


def _plain(values: Any) -> tuple[float, ...]:
    listed = values.tolist() if hasattr(values, "tolist") else values
    try:
        return tuple(map(float, listed))
    except (TypeError, ValueError):
        expected = "a row of numbers for each text"
        raise UserError.single("log_probs", f"{values!r}"[:80], expected) from None


def _require_each(name: str, values: Any, texts: Sequence[Any]) -> None:
    if values is not None and len(values) != len(texts):
        raise UserError.single(
            name, f"{len(values)} of {len(texts)} texts", "one for each, or None"
        )
