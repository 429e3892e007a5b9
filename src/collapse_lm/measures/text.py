"""Text metrics: how repetitive a sample is.

Pure functions of token ids (and, for compression, of text). All n-gram metrics
depend on length: compare samples of equal length only. Knows nothing of models.
"""

import math
import operator
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collapse_lm.errors import UserError
from collapse_lm.measures.names import Number

LARGEST_PERIOD_SHARE = 0.25
SHORTEST_LOOP = 4  # tokens: a doubled word or line break is no loop
_DENSE = 4  # tokens between two looks, below which all are looked at


@dataclass(frozen=True)
class Loop:
    """The longest run of a sample that repeats with one period.

    Attributes:
        period: tokens after which the run repeats.
        start: index of its first token.
        length: its tokens, at least two periods and at least four.
        share: length divided by the sample's length.
    """

    period: int
    start: int
    length: int
    share: float


@dataclass(frozen=True)
class TextMetrics:
    """Text metrics of the samples of one update, each a mean over those that have it.

    Attributes:
        distinct_1: different tokens divided by tokens (Li et al. 2016), and so on to 4-grams;
            NaN where all samples are shorter than n.
        seq_rep_4: 1 - different/total 4-grams within a sample (Welleck et al. 2020).
        loop_period: period of the loop with the largest share, None without any.
        loop_share: share of tokens inside the sample's loop.
        compression: bytes after zlib (level 9) divided by bytes before, of the UTF-8 text.
    """

    distinct_1: float
    distinct_2: float
    distinct_3: float
    distinct_4: float
    seq_rep_4: float
    loop_period: int | None
    loop_share: float
    compression: float


def plain_ids(ids: Any, where: str = "token ids") -> tuple[int, ...]:
    """Token ids as Python's integers, from a list, an array of numpy or a tensor of torch.

    Those of the libraries do not compare and hash as numbers do.

    Raises:
        UserError: for what is no row of whole numbers from 0 on.
    """
    listed = ids.tolist() if hasattr(ids, "tolist") else ids
    try:
        plain = tuple(map(operator.index, listed))
    except TypeError:
        plain = (-1,)
    if plain and min(plain) < 0:
        raise UserError.single(
            where,
            f"{ids!r}"[:80],
            "whole numbers from 0 on, one per token",
            "ids of one text; several texts are a list of such",
        )
    return plain


def distinct(ids: Sequence[int], n: int) -> float:
    """Return different n-grams divided by n-grams of one sample, or NaN if it has none.

    The ids must be plain numbers (`plain_ids`): tensors of equal numbers are not equal keys.
    """
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan


def seq_rep(ids: Sequence[int], n: int = 4) -> float:
    """Return 1 - different/total n-grams of one sample (seq-rep-n), or NaN if it has none."""
    return 1.0 - distinct(ids, n)


def find_loop(ids: Sequence[int]) -> Loop | None:
    """Find the longest run of a sample that repeats with one period.

    The period is at most a quarter of the sample; the run holds it at least twice and
    has at least four tokens. Among runs of equal length the smallest period wins, then
    the earliest.
    A run that would be longer than the longest so far is looked for at a few of its tokens
    first, so that a text that does not repeat takes about n log n steps.
    """
    tokens = np.asarray(plain_ids(ids))
    best: Loop | None = None
    for period in range(1, int(len(tokens) * LARGEST_PERIOD_SHARE) + 1):
        longest = best.length if best else 0
        if not _may_match(tokens, period, max(period, longest + 1 - period)):
            continue
        start, matches = _longest_true_run(tokens[period:] == tokens[:-period])
        length = matches + period
        shortest = max(2 * period, SHORTEST_LOOP)
        if length >= shortest and (best is None or length > best.length):
            best = Loop(period, start, length, length / len(tokens))
    return best


def _may_match(tokens: NDArray[np.int_], period: int, least: int) -> bool:
    """False where no run of so many tokens equals the ones a period on: looks at four of them."""
    step = least // 4
    if step < _DENSE:
        return True
    equal = tokens[period::step] == tokens[:-period:step]
    return bool((equal[:-3] & equal[1:-2] & equal[2:-1] & equal[3:]).any())


def _longest_true_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Return (start, length) of the first longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def compression(text: str) -> float:
    """Return the zlib-compressed share of a text's UTF-8 bytes, or NaN for an empty text."""
    raw = text.encode("utf-8", errors="replace")
    return len(zlib.compress(raw, 9)) / len(raw) if raw else math.nan


def _mean(values: Iterable[float]) -> float:
    """Mean over the samples for which a metric is defined, NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def measure_samples(samples: Sequence[Sequence[int]], texts: Sequence[str]) -> TextMetrics:
    """Measure the samples of one update.

    Args:
        samples: token ids of each, in a list, an array or a tensor.
        texts: their decoded forms, in the same order.

    Raises:
        UserError: for ids that are no whole numbers, for no sample, and for another number
            of texts.
    """
    samples = [plain_ids(ids) for ids in samples]
    if not samples or len(samples) != len(texts):
        got = f"{len(samples)} samples and {len(texts)} texts"
        raise UserError.single("measure_samples", got, "a text for each of one sample or more")
    loops = [find_loop(ids) for ids in samples]
    found = [loop for loop in loops if loop is not None]
    return TextMetrics(
        distinct_1=_mean(distinct(ids, 1) for ids in samples),
        distinct_2=_mean(distinct(ids, 2) for ids in samples),
        distinct_3=_mean(distinct(ids, 3) for ids in samples),
        distinct_4=_mean(distinct(ids, 4) for ids in samples),
        seq_rep_4=_mean(seq_rep(ids) for ids in samples),
        loop_period=max(found, key=lambda loop: loop.share).period if found else None,
        loop_share=fmean(0.0 if loop is None else loop.share for loop in loops),
        compression=_mean(compression(text) for text in texts),
    )


def text_values(metrics: TextMetrics) -> dict[str, Number]:
    """The metrics by the names of their columns; a loop period only where there is a loop."""
    return {f"text.{name}": value for name, value in asdict(metrics).items() if value is not None}
