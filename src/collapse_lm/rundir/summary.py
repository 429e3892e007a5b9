"""summary.json: how a run ended, summed up row by row in memory of a fixed size."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collapse_lm.config.sections import CollapseConfig, CollapseRule
from collapse_lm.measures.endings import Endings
from collapse_lm.measures.names import Row
from collapse_lm.measures.rule import Verdict
from collapse_lm.measures.seen import Seen
from collapse_lm.rundir.rows import SampleRow

_BEFORE = "degenerate before any training, from the base model's own sample on"
Losses = dict[str, Any]  # {"update": u, CORPUS: nats per token}


class Summing:
    """Sums up a run as its rows come; `seen` is what follows from them.

    Args:
        rule: thresholds of the collapse rule.
    """

    def __init__(self, rule: CollapseRule) -> None:
        self.seen, self._endings = Seen(rule), Endings(rule)
        self._start: Losses | None = None
        self._end: Losses | None = None
        self._collapse: Losses | None = None
        self._since_streak: list[Losses] = []  # evaluated since the streak of the rule began
        self._train: dict[str, float | None] = {"first": None, "last": None}
        self._updates = self._probes = self._clear = 0
        self._diverged = False

    def take(self, row: Row, texts: SampleRow | None = None) -> None:
        """Take the row of the next update, and its texts where they are known."""
        batch = texts.texts if texts else ()
        probe = (texts.probe or batch) if texts and "text.loop_share" in row.values else ()
        self.seen.replay(row, batch, probe)
        self.note(row)

    def note(self, row: Row) -> None:
        """Take a row that was seen already."""
        self._updates = row.update
        self._endings.see(row)
        self._probes += "text.loop_share" in row.values
        self._diverged |= row.values.get("train.applied") == 0
        if row.update and "train.loss" in row.values:
            self._train["last"] = row.get("train.loss")
            if self._train["first"] is None:
                self._train["first"] = row.get("train.loss")
        losses = row.labelled("validation.loss")
        if losses:
            self._end = {"update": row.update, **losses}
            self._start = self._start or self._end
            self._since_streak.append(self._end)
        if "text.loop_share" in row.values and not self.verdict.collapsed:
            self._clear = self._clear if self.seen.watch.streak_start else row.update
        self._find_collapse()

    def _find_collapse(self) -> None:
        """Keep the first evaluation from the collapse on; forget those before a streak."""
        collapse, streak = self.verdict.collapse_update, self.seen.watch.streak_start
        if collapse is not None and self._collapse is None:
            after = (one for one in self._since_streak if one["update"] >= collapse)
            self._collapse = next(after, None)
        if collapse is not None or streak is None:
            self._since_streak.clear()

    @property
    def verdict(self) -> Verdict:
        """The rule's verdict on all rows so far."""
        return self.seen.verdict

    def is_stopped(self, update: int, max_updates: int, rule: CollapseConfig) -> bool:
        """True where the rule ends a run with an update, or its end comes in the aftermath."""
        if not rule.stop or not self.verdict.collapsed:
            return False
        return self.seen.is_over(update, max_updates, rule.aftermath, rule.aftermath_dose)

    def result(self, status: str, limit: str | None = "run.max_updates") -> dict[str, Any]:
        """Return summary.json.

        Args:
            status: of the run as it ends now.
            limit: the key whose limit ended the run; None where nothing or the rule did.
        """
        verdict, rule = self.verdict, self.seen.watch.rule
        if verdict.collapsed:
            seen = "updates" if self._probes == self._updates else "probes"
            named = ", ".join(verdict.reasons)
            reason = f"collapse: {named} for {rule.patience} {seen} in a row"
            reason += f"; {_BEFORE}" if verdict.from_the_start else ""
        elif self._diverged:
            reason = "diverged: a loss or gradient was not finite"
        else:
            reason = f"censored: reached {limit}" if status == "finished" else status
        return {
            "status": status,
            "collapsed": verdict.collapsed,
            "collapse_update": verdict.collapse_update,
            "collapse_after": self._clear if verdict.collapsed else None,
            "degenerate_before_training": verdict.from_the_start,
            "criteria": list(verdict.reasons),
            "endings": self._endings.profile,
            "reason": reason,
            "limit": limit,
            "updates": self._updates,
            "validation": {"start": self._start, "collapse": self._collapse, "end": self._end},
            "train_loss": dict(self._train),
        }


def entered_states(summary: Mapping[str, Any]) -> dict[str, int]:
    """The states of probes and of rollouts that were entered, drift aside, in that order.

    Args:
        summary: with `endings` and, where rollouts were observed, `rollout_endings`.

    Returns:
        The update of the first entry of each.
    """
    found = [
        (int(stay["entered"]), state)
        for name in ("endings", "rollout_endings")
        for state, stay in summary.get(name, {}).items()
        if stay["entered"] is not None and state != "drift"
    ]
    first: dict[str, int] = {}
    for at, state in sorted(found):
        first.setdefault(state, at)
    return first


def sum_up(rows: Iterable[Row], rule: CollapseRule, samples: Sequence[SampleRow] = ()) -> Summing:
    """Sum up rows from row 0 on, with their texts where these are wanted."""
    summing, texts = Summing(rule), {row.update: row for row in samples}
    for row in rows:
        summing.take(row, texts.get(row.update))
    return summing
