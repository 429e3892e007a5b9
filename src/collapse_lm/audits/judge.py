"""From the numbers of groups to states: entered by the rule's patience, as in a run.

`measures.endings` judges what texts alone tell: loop, mode, shrink. Noise is seen by a model
that reads them. A single group has no course: it is judged once, against human text. Pure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collapse_lm.config.sections import CollapseRule
from collapse_lm.measures.endings import Clock, Endings, Profile
from collapse_lm.measures.names import Row
from collapse_lm.measures.rule import observe, reasons

JUDGED = ("loop", "mode", "noise", "shrink")  # drift is of the model, and stands in no text
LOOP, MODE, NOISE, SHRINK = JUDGED
_SCORE = "score.loss"


@dataclass(frozen=True)
class Judgement:
    """The states of groups.

    Attributes:
        shown: of each group, the states that it shows.
        profile: by state when it was entered and left, as in a summary.
        broken_at_start: most texts of the baseline are degenerate, or of the only group.
    """

    shown: tuple[tuple[str, ...], ...]
    profile: Profile
    broken_at_start: bool

    @property
    def found(self) -> tuple[str, ...]:
        """The states that were entered."""
        return tuple(state for state in JUDGED if self.profile[state]["entered"] is not None)


def judge(
    start: Row, rows: Sequence[Row], rule: CollapseRule, human: Mapping[str, float]
) -> Judgement:
    """Judge groups.

    Args:
        start: row 0, with the levels of the baseline; empty with a single group.
        rows: of the groups, in order.
        rule: thresholds.
        human: the numbers of human text by name; empty without one.
    """
    if len(rows) == 1 and not start.values:
        return _judge_one(rows[0], rule, human)
    endings, noise = Endings(rule), Clock(rule.patience)
    endings.see(start)
    shown = list[tuple[str, ...]]()
    for row in rows:
        endings.see(row)
        is_noise = _is_noise(row, rule, start.get(_SCORE), human.get(_SCORE, math.nan))
        noise.see(row.update, is_noise)
        seen = {**endings.shown, NOISE: is_noise}
        shown.append(tuple(state for state in JUDGED if seen[state]))
    profile = {**endings.profile, NOISE: noise.stay(rows[-1].update)}
    share = start.get("base_samples.degenerate_share")
    return Judgement(tuple(shown), profile, share >= rule.degenerate_share)


def _judge_one(row: Row, rule: CollapseRule, human: Mapping[str, float]) -> Judgement:
    """A single group, at once: patience counts groups."""
    seen = observe(row)
    is_loop = seen is not None and bool(reasons(seen, rule))
    shows = {
        LOOP: is_loop,
        MODE: _says_little(row, rule, human),
        NOISE: _is_noise(row, rule, math.nan, human.get(_SCORE, math.nan)),
        SHRINK: False,
    }
    profile: Profile = {}
    for state in ("drift", *JUDGED):
        clock = Clock(1)
        clock.see(row.update, shows.get(state))
        profile[state] = clock.stay(row.update)
    return Judgement((tuple(state for state in JUDGED if shows[state]),), profile, is_loop)


def _says_little(row: Row, rule: CollapseRule, human: Mapping[str, float]) -> bool:
    """Half of the texts equal another, or together have few n-grams beside human text."""
    names = [f"pool.distinct_{n}" for n in (1, 2, 3, 4)]
    is_poor = (row.get(n) <= rule.distinct * human[n] for n in names if n in human)
    return row.get("texts.equal") >= rule.overlap or any(is_poor)


def _is_noise(row: Row, rule: CollapseRule, start: float, human: float) -> bool | None:
    """Less likely under the model than at the start, and than human text, by the bound."""
    known = [level for level in (start, human) if not math.isnan(level)]
    if _SCORE not in row.values or not known:
        return None
    return row.get(_SCORE) - max(known) > rule.high_entropy
