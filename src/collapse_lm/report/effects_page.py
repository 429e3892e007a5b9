"""What the keys of a sweep do to the time to collapse, as a page and as lines."""

import math
from collections.abc import Sequence

from collapse_lm.analysis.effects import Effect, LevelEffect
from collapse_lm.analysis.outcomes import LeftOut
from collapse_lm.report.claims_page import cell, left_out_section, ratio_words

_ABOUT = """\
A time ratio is how many times as long runs take to collapse, other settings equal: .5 is half \
as long, 2 twice as long. From the lowest value to the highest it takes the logarithm of the time \
to change evenly with that of the value (with the value itself, where 0 is among them). It is \
Gehan's estimate of an accelerated failure time, which counts a run that ended without a collapse \
as one that would have collapsed later; its 95 % interval is that of the jackknife over seeds, \
with Student's t, and no narrower than times in whole updates allow; there is none with fewer \
than three seeds, or where no seed makes a difference. Where runs collapsed at one end only, \
there is a bound instead. The p-value is that of the log-rank test for trend, over permutations \
of the values within each seed (of whole models where models differ, as seeds of one model are no \
second model). It says whether there is an order, not how much; there is none for more than two \
values without an order. Seeds repeat a run on the same model and texts: of other models and \
texts nothing is said. A run whose first, untrained sample began its collapse has no time to \
collapse and is left out."""
_HEAD = (
    "| value | runs | seeds | collapsed | median update (95 %) | time ratio (95 %) |\n"
    "| --- | --- | --- | --- | --- | --- |"
)


def effects_markdown(
    effects: Sequence[Effect],
    left_out: Sequence[LeftOut],
    *,
    missing: int,
    unjudged: str,
    apart: int = 1,
) -> str:
    """Return effects.md.

    Args:
        effects: of each key that runs differ in.
        left_out: runs without an outcome; listed at the end.
        missing: how many runs of the sweep have not ended.
        unjudged: why the paper's sentences were not judged; empty if they were.
        apart: updates from one probe to the next, at most.
    """
    parts = ["# Effects on the time to collapse", _ABOUT]
    if apart > 1:
        parts.append(
            f"Runs were judged every {apart} updates: a collapse began up to {apart - 1} updates "
            "before the update that is told (`collapse_after` in tables/runs.csv)."
        )
    if missing:
        parts.append(f"**{missing} runs have not ended; those that did are no fair choice.**")
    parts += [_section(effect) for effect in effects]
    if not effects:
        parts.append("No two runs that ended differ in a setting, so nothing is compared.")
    if unjudged:
        parts.append(f"The paper's sentences are not judged on these runs: {unjudged}.")
    return "\n\n".join([*parts, *left_out_section(left_out)]) + "\n"


def effect_lines(effects: Sequence[Effect]) -> list[str]:
    """A line per key for the terminal."""
    return [f"{effect.key}: {_told(effect)}" for effect in effects]


def _section(effect: Effect) -> str:
    rows = [_row(level, is_first=place == 0) for place, level in enumerate(effect.levels)]
    notes = [f"- Test: {_design(effect)}"] if not math.isnan(effect.test.p_value) else []
    lines = [f"## {cell(effect.key)}", "", f"{cell(_told(effect))}.", "", _HEAD, *rows]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _told(effect: Effect) -> str:
    first, last = effect.levels[0].name, effect.levels[-1].name
    if effect.scale == "words" and len(effect.levels) > 2:
        return f"{len(effect.levels)} values without an order, each against {first}"
    said = f"{first} to {last}: time to collapse {ratio_words(effect.ratio)}"
    p = effect.test.p_value
    return said if math.isnan(p) else f"{said}, p = {p:.3g}"


def _row(level: LevelEffect, *, is_first: bool) -> str:
    cells = (
        *(cell(level.name), str(level.runs), str(level.seeds), str(level.collapses)),
        _median(level),
        "1 (compared with)" if is_first else ratio_words(level.ratio),
    )
    return f"| {' | '.join(cells)} |"


def _median(level: LevelEffect) -> str:
    if level.median is None:
        return "not reached"
    limits = (level.median_lower, level.median_upper)
    if limits == (None, None):
        return f"{level.median:g} (no interval)"
    low, high = ("no limit" if limit is None else f"{limit:g}" for limit in limits)
    return f"{level.median:g} ({low} to {high})"


def _design(effect: Effect) -> str:
    test = effect.test
    count = f"{test.assignments:,}"
    counted = f"all {count} distinct" if test.exact else f"{count} random"
    return (
        f"{counted} assignments, which cannot show a p-value below "
        f"{test.smallest:.3g}; the run with more of it collapsed first in "
        f"{effect.concordance:.0%} of the pairs of which that is known"
    )
