"""The states of one stream of observations, and which of them are news. Pure.

The states are those of `measures.endings`, by its names of a probe. Samples that were
degenerate before any training are no loop that training brought about: until they have been
sound for as many observations as the rule is patient, a loop is no news; and there are no
levels that mode, noise and shrink could be relative to.
"""

from dataclasses import dataclass

from collapse_lm.config.sections import CollapseRule
from collapse_lm.measures.endings import STATES, Clock, Endings
from collapse_lm.measures.names import Row

LOOP, DRIFT = "loop", "drift"
OF_TEXTS = ("mode", "loop", "shrink")  # what texts alone can show


@dataclass(frozen=True)
class Told:
    """What the states are with an observation.

    Attributes:
        shown: that the observation shows.
        entered: that the model is in, with the onset of each.
        new: that it has entered with this one.
        is_news: this one enters a state, or is the first in a row to show one.
        broken_at_start: the samples were degenerate before any training, and still are.
    """

    shown: tuple[str, ...]
    entered: dict[str, int]
    new: tuple[str, ...]
    is_news: bool
    broken_at_start: bool

    @property
    def collapses(self) -> tuple[str, ...]:
        """The states other than drift that training brought about: none of a broken model."""
        if self.broken_at_start:
            return ()
        return tuple(state for state in self.entered if state != DRIFT)


def relative(rule: CollapseRule, share: float) -> CollapseRule:
    """A rule whose probe is degenerate relative to the start.

    The share that makes it so lies as far between that of the start and 1 as the rule's own
    lies between 0 and 1. Of samples that are degenerate by majority at the start nothing is
    relative: the model is broken.

    Args:
        rule: thresholds.
        share: of the samples at the start that are degenerate.
    """
    least = rule.degenerate_share
    if share >= least:
        return rule
    return rule.model_copy(update={"degenerate_share": share + (1 - share) * least})


class States:
    """The states of a stream as observations come.

    Args:
        rule: thresholds.

    Attributes:
        start: the row of the baseline.
        endings: the states as rows tell them.
    """

    def __init__(self, rule: CollapseRule) -> None:
        self.start = Row(0)
        self.endings = Endings(rule)
        self._rule = rule
        self._broken = Clock(rule.patience)  # loops since before any training
        self._told_of: tuple[str, ...] = STATES
        self._entered, self._shown = dict[str, int](), tuple[str, ...]()

    def take_levels(self, row: Row, rule: CollapseRule | None = None) -> None:
        """Take what is known of the baseline.

        Args:
            row: of it.
            rule: that follows from it; None takes a degenerate share that does.
        """
        self.start = row
        share = row.get("base_samples.degenerate_share")
        self.endings.rule = rule or relative(self._rule, share)
        self.endings.see(row)

    def begin(self, step: int, degenerate_share: float) -> Told:
        """Say what share of the samples was degenerate before any training."""
        if degenerate_share < self._rule.degenerate_share:
            return self._told(())
        self._told_of = (DRIFT, LOOP)
        for _ in range(self._rule.patience):
            self._broken.see(step, True)
        return self._told((LOOP,))

    def see(self, row: Row) -> Told:
        """Take an observation."""
        self.endings.see(row)
        if self._broken.since is not None:
            self._broken.see(row.update, self.endings.shown[LOOP])
        return self._told(tuple(state for state in self._told_of if self.endings.shown[state]))

    def _told(self, shown: tuple[str, ...]) -> Told:
        within, broken = self.endings.within, self._broken.since
        entered = {state: within[state] for state in self._told_of if state in within}
        if broken is not None:
            entered[LOOP] = broken
        fresh = tuple(state for state in entered if state not in self._entered)
        is_fault = broken is not None and LOOP in fresh
        is_news = bool(fresh or {*shown} - {*self._shown} - {*entered})
        self._entered, self._shown = entered, shown
        new = tuple(state for state in fresh if state != LOOP or not is_fault)
        return Told(shown, entered, new, is_news, broken is not None)
