"""summary.json: how a run ended, summed up row by row in memory of a fixed size."""

from collections.abc import Iterable
from typing import Any

from collapse_lm.config.sections import CollapseRule
from collapse_lm.measures.names import Row
from collapse_lm.measures.rule import Verdict, Watch

_BEFORE = "degenerate before any training, from the base model's own sample on"
Losses = dict[str, Any]  # {"update": u, CORPUS: nats per token}


class Summing:
    """Sums up a run as its rows come; `watch` is the collapse rule at work on them.

    Args:
        rule: thresholds of the collapse rule.
    """

    def __init__(self, rule: CollapseRule) -> None:
        self.watch = Watch(rule)
        self._start: Losses | None = None
        self._end: Losses | None = None
        self._collapse: Losses | None = None
        self._since_streak: list[Losses] = []  # evaluated since the streak of the rule began
        self._train: dict[str, float | None] = {"first": None, "last": None}
        self._updates = self._probes = 0
        self._diverged = False

    def take(self, row: Row) -> None:
        """Take the row of the next update, and show it to the rule."""
        if row.update:
            self.watch.see(row)
        self.note(row)

    def note(self, row: Row) -> None:
        """Take a row that the rule has seen already."""
        self._updates = row.update
        self._probes += "text.loop_share" in row.values
        self._diverged |= row.values.get("train.applied") == 0
        if row.update:
            self._train["last"] = row.get("train.loss")
            if row.update == 1:
                self._train["first"] = row.get("train.loss")
        losses = row.labelled("validation.loss")
        if losses:
            self._end = {"update": row.update, **losses}
            self._start = self._start or self._end
            self._since_streak.append(self._end)
        self._find_collapse()

    def _find_collapse(self) -> None:
        """Keep the first evaluation from the collapse on; forget those before a streak."""
        collapse, streak = self.verdict.collapse_update, self.watch.streak_start
        if collapse is not None and self._collapse is None:
            after = (one for one in self._since_streak if one["update"] >= collapse)
            self._collapse = next(after, None)
        if collapse is not None or streak is None:
            self._since_streak.clear()

    @property
    def verdict(self) -> Verdict:
        """The rule's verdict on all rows so far."""
        return self.watch.verdict

    def result(self, status: str, limit: str | None = "run.max_updates") -> dict[str, Any]:
        """Return summary.json.

        Args:
            status: of the run as it ends now.
            limit: the key whose limit ended the run; None where nothing or the rule did.
        """
        verdict, rule = self.verdict, self.watch.rule
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
            "degenerate_before_training": verdict.from_the_start,
            "criteria": list(verdict.reasons),
            "reason": reason,
            "limit": limit,
            "updates": self._updates,
            "validation": {"start": self._start, "collapse": self._collapse, "end": self._end},
            "train_loss": dict(self._train),
        }


def sum_up(rows: Iterable[Row], rule: CollapseRule) -> Summing:
    """Sum up rows from row 0 on."""
    summing = Summing(rule)
    for row in rows:
        summing.take(row)
    return summing
