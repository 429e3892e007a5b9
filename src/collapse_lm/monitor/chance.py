"""Thresholds that a model which does not learn does not cross by chance.

A probe is few samples. Of a model with short answers, of which one in ten goes on for long, the
next probe may have half the entropy, or a tenth of the length, of the start and mean nothing by
it. How far a probe lies from the start by chance is known from the samples of the start: probes
are made of these, each sample out of those behind the same prompt. Knows nothing of models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from collapse_lm import rng
from collapse_lm.config.sections import CollapseRule
from collapse_lm.experiment.batch import Text
from collapse_lm.measures.pool import ORDERS, PROBES, Grams, grams_of
from collapse_lm.measures.seen import degenerate_share
from collapse_lm.monitor.states import relative

_PROBES = 4000  # that are made
_RARE = 0.01  # share of them that may lie beyond a threshold; a verdict takes two in a row
_SPLITS, _SURE = 40, 4.0  # of the start into halves; standard deviations that are no chance
_LEAST, _ROUNDING = 1e-6, 0.99  # of a threshold that is above zero; of one that values equal

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Start:
    """The samples of the start.

    Attributes:
        texts: in probes one behind the other, with entropies.
        samples: of a probe; sample i of each has the same prompt.
        longest: tokens that a sample may have.
        length: to which samples are cut where probes are pooled.
        seed: of the random numbers.
    """

    texts: Sequence[Text]
    samples: int
    longest: int
    length: int
    seed: int

    @property
    def rounds(self) -> int:
        """The probes."""
        return len(self.texts) // self.samples


def beyond_chance(rule: CollapseRule, start: Start) -> CollapseRule:
    """A rule that is relative to the start, and asks for more than chance brings about.

    No threshold becomes easier to cross than that of the rule.
    """
    texts, chosen = start.texts, _chosen(start)
    # A sample that no probe of the start has yet may still come: one that is stuck to the end.
    tokens = np.array([*(len(text.ids) for text in texts), start.longest], float)
    nats = np.array([*(math.fsum(text.entropies) for text in texts), 0.0])
    is_bad = np.array([*(degenerate_share([text], rule) for text in texts), 1.0])
    lengths, entropies = tokens[chosen].mean(1), nats[chosen].sum(1) / tokens[chosen].sum(1)
    length, entropy = float(tokens[:-1].mean()), float(nats.sum() / tokens[:-1].sum())
    least = relative(rule, float(is_bad[:-1].mean())).degenerate_share
    changed = {
        "short": _lower(rule.short, lengths, length),
        "low_entropy": _lower(rule.low_entropy, entropies, entropy),
        "high_entropy": max(rule.high_entropy, (_largest(entropies) - entropy) / _ROUNDING),
        "degenerate_share": _share(least, is_bad[chosen].mean(1), start.samples),
        "distinct": max(_LEAST, min(rule.distinct, _fall(start))),
    }
    told = {name: value for name, value in changed.items() if math.isfinite(value)}
    return rule.model_copy(update=told)


def _chosen(start: Start) -> Ints:
    """Which samples made probes have: (probes, samples); the last but one more is the stuck one."""
    numbers, count = rng.stream(start.seed, "bootstrap"), len(start.texts)
    shape = _PROBES, start.samples
    drawn = torch.randint(start.rounds, shape, generator=numbers).numpy()
    is_other = torch.rand(shape, generator=numbers).numpy() < 1 / (count + 1)
    chosen = np.where(is_other, count, drawn * start.samples + np.arange(start.samples))
    return np.asarray(chosen, np.int64)


def _lower(share: float, values: Floats, level: float) -> float:
    """The rule's share of a level, or the lowest that is not rare where that is less."""
    if not level > 0:
        return math.nan
    lowest = float(np.quantile(values, _RARE, method="lower"))
    return max(_LEAST, min(share, _ROUNDING * lowest / level))


def _largest(values: Floats) -> float:
    return float(np.quantile(values, 1 - _RARE, method="higher"))


def _share(least: float, shares: Floats, samples: int) -> float:
    """The least share of degenerate samples that is rare, where that is more than the rule's."""
    return max(least, min(1.0, _largest(shares) + 0.5 / samples))


def _fall(start: Start) -> float:
    """The share of the start's different n-grams that pooled probes have with little chance."""
    shape = _SPLITS, start.rounds, start.samples
    order = torch.rand(shape, generator=rng.stream(start.seed, "bootstrap", 1)).argsort(1).numpy()
    splits = order * start.samples + np.arange(start.samples)
    return _fall_of([text.ids[: start.length] for text in start.texts], splits)


def distinct_beyond_chance(rule: CollapseRule, first: Sequence[Sequence[Sequence[int]]]) -> float:
    """The rule's share of different n-grams, or a lower one, relative to observations of texts.

    The texts of an observation may answer one prompt, and so are taken or left together.

    Args:
        rule: thresholds.
        first: token ids of the texts of each observation, as many of each.
    """
    ids = [one for texts in first for one in texts]
    places = np.arange(len(ids)).reshape(len(first), -1)
    half = len(first) // 2
    parts = [part for part in combinations(range(len(first)), half) if 0 in part]
    rest = [[place for place in range(len(first)) if place not in part] for part in parts]
    splits = np.stack([places[[*part, *others]] for part, others in zip(parts, rest, strict=True)])
    return max(_LEAST, min(rule.distinct, _fall_of(ids, splits)))


def _fall_of(texts: Sequence[Sequence[int]], splits: Ints) -> float:
    """What is left of the different n-grams with little chance.

    Known from how far pools of one half of the probes lie from those of the other.

    Args:
        texts: token ids of each, cut.
        splits: (splits, probes, samples) which texts stand in which probe; the first half of the
            probes is compared with the second.
    """
    rounds = splits.shape[1]
    half = rounds // 2
    spread = max(_spread(texts, splits, n) for n in ORDERS) if half else 0.0
    return math.exp(-_SURE * spread * math.sqrt(half / 2 * (1 / PROBES + 1 / rounds)))


def _spread(texts: Sequence[Sequence[int]], splits: Ints, n: int) -> float:
    """Standard deviation of the logarithm of how the different n-grams of two halves compare."""
    known = [grams_of([ids], n) for ids in texts]
    counts = np.array([max(0, len(ids) - n + 1) for ids in texts])
    half, apart = splits.shape[1] // 2, list[float]()
    for places in splits:
        one, other = (
            _distinct(part.ravel(), known, counts)
            for part in (places[:half], places[half : 2 * half])
        )
        if one and other:
            apart.append(math.log(one / other))
    return math.sqrt(fmean(value**2 for value in apart)) if apart else 0.0


def _distinct(places: Ints, known: Sequence[Grams], counts: Ints) -> float:
    """Different divided by all n-grams of some texts; 0 without any."""
    different = Grams().union(*(known[place] for place in places))
    return len(different) / max(1, int(counts[places].sum()))
