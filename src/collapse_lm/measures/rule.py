"""The collapse rule: rows to a collapse update, or to *censored*, one row at a time.

It is the state *loop* of the endings (`endings`), whose first entry is the collapse update.
Defined in docs/design.md, calibrated in docs/collapse-rule.md. Looks at probes only: a row
without one says nothing. Pure; knows nothing of models, files or the loop.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from collapse_lm.config.sections import CollapseRule
from collapse_lm.errors import UserError
from collapse_lm.measures.names import Row

_DEFAULTS = CollapseRule()
_ONE = ("loop_share", "seq_rep_4", "train_loss")
_CRITERIA = (*_ONE, "degenerate_share")


@dataclass(frozen=True)
class Observation:
    """What the rule looks at in one probe.

    Attributes:
        update: of the probe.
        loop_share, seq_rep_4: text metrics, means over its samples.
        train_loss: loss of the probe under the model that drew it, in nats per token;
            under source own the train loss.
        degenerate_share: share of its samples that are degenerate; NaN for a probe of one,
            and in rows of earlier releases, which are judged by the means.
    """

    update: int
    loop_share: float
    seq_rep_4: float
    train_loss: float
    degenerate_share: float = math.nan


@dataclass(frozen=True)
class Verdict:
    """The outcome of the rule on a series.

    Attributes:
        collapse_update: first update of the first streak of `patience` degenerate
            probes, None for a censored series.
        reasons: the criteria that fired within that streak, in the rule's order.
        met: the update with which the streak was long enough; None likewise.
        began_degenerate: True where the streak begins with the first probe, of a base model
            whose samples are degenerate by themselves; None where its samples are unknown.
    """

    collapse_update: int | None
    reasons: tuple[str, ...] = ()
    met: int | None = None
    began_degenerate: bool | None = None

    @property
    def collapsed(self) -> bool:
        """True when the series holds a persistent breach."""
        return self.collapse_update is not None

    @property
    def from_the_start(self) -> bool:
        """True when the streak begins with what the base model drew, before any training.

        Where samples of the base model are known (`collapse.base_samples`), only if they are
        degenerate too: one may be so by chance.
        """
        if self.began_degenerate is None:
            return self.collapse_update == 1
        return self.began_degenerate


def reasons(observation: Observation, rule: CollapseRule) -> tuple[str, ...]:
    """Name the criteria by which an observation is degenerate; empty if it is not.

    Of several samples the share that is degenerate decides; the criteria that their means
    breach are then named, or that share where none does. A NaN never counts: it is not
    evidence of repetition.
    """
    breached = {
        "loop_share": observation.loop_share >= rule.loop_share,
        "seq_rep_4": observation.seq_rep_4 >= rule.seq_rep_4,
        "train_loss": observation.train_loss < rule.train_loss,
    }
    fired = tuple(name for name in _ONE if breached[name])
    if math.isnan(observation.degenerate_share):
        return fired
    is_degenerate = observation.degenerate_share >= rule.degenerate_share
    return (fired or ("degenerate_share",)) if is_degenerate else ()


def observe(row: Row) -> Observation | None:
    """What the rule looks at in a row; None for a row without a probe."""
    if "text.loop_share" not in row.values:
        return None
    text = (row.get("text.loop_share"), row.get("text.seq_rep_4"))
    return Observation(row.update, *text, row.get("probe.loss"), row.get("probe.degenerate_share"))


class Watch:
    """The rule at work on a run: shown row after row, it knows the verdict so far.

    Each row costs the same, however long the run is.

    Args:
        rule: its thresholds; by default those of a run.
    """

    def __init__(self, rule: CollapseRule = _DEFAULTS) -> None:
        self.rule = rule
        self.verdict = Verdict(None)
        self._streak: list[tuple[int, tuple[str, ...]]] = []  # at most `patience`
        self._base_share = math.nan
        self._first: int | None = None  # update of the first probe

    @property
    def streak_start(self) -> int | None:
        """First update of the degenerate probes in a row so far; None without any."""
        return self._streak[0][0] if self._streak else None

    def see(self, row: Row) -> Verdict:
        """Take a row of the next update; return the verdict on all rows seen.

        Args:
            row: with `text.loop_share`, `text.seq_rep_4` and `probe.loss` (`probe_row` makes
                one). A row without text metrics has no probe, and says nothing but, of the
                base model, what share of its samples is degenerate.
        """
        self._base_share = float(row.values.get("base_samples.degenerate_share", self._base_share))
        seen = observe(row)
        return self.verdict if seen is None else self.take(seen)

    def take(self, seen: Observation) -> Verdict:
        """Take an observation of the next probe; return the verdict on all of them."""
        self._first = seen.update if self._first is None else self._first
        if self.verdict.collapsed:
            return self.verdict
        fired = reasons(seen, self.rule)
        if fired:
            self._streak.append((seen.update, fired))
        else:
            self._streak.clear()
        if len(self._streak) == self.rule.patience:
            found = _union([names for _, names in self._streak])
            start = self._streak[0][0]
            self.verdict = Verdict(start, found, seen.update, self._began_degenerate(start))
        return self.verdict

    def _began_degenerate(self, start: int) -> bool | None:
        if math.isnan(self._base_share):
            return None
        return start == self._first and self._base_share >= self.rule.degenerate_share


def judge(series: Iterable[Observation | Row], rule: CollapseRule = _DEFAULTS) -> Verdict:
    """Find the first persistent breach of the rule in a series ordered by update.

    Args:
        series: rows (`RunReader(RUN).updates()`), or observations.
        rule: its thresholds; by default those of a run.

    Raises:
        UserError: for anything else.
    """
    watch = Watch(rule)
    for item in [series] if isinstance(series, (str, PurePath)) else series:
        if isinstance(item, Row):
            watch.see(item)
        elif isinstance(item, Observation):
            watch.take(item)
        else:
            fix = "collapse_lm.RunReader(RUN).updates() are the rows of a run"
            raise UserError.single("judge", f"{item!r}"[:80], "rows, or observations", fix)
    return watch.verdict


def _union(groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    fired = {name for group in groups for name in group}
    return tuple(name for name in _CRITERIA if name in fired)
