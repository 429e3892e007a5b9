"""The collapse rule: a series of observations to a collapse update, or to *censored*.

Defined in docs/design.md, calibrated in docs/collapse-rule.md. Pure; knows nothing
of models, files or the loop.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CollapseRule:
    """Thresholds of the rule; the configuration's `collapse` section has the same fields."""

    loop_share: float = 0.5
    seq_rep_4: float = 0.6
    train_loss: float = 0.1
    patience: int = 5

    def reasons(self, observation: "Observation") -> tuple[str, ...]:
        """Name the criteria by which an observation is degenerate; empty if it is not.

        A NaN never counts: it is not evidence of repetition.
        """
        breached = {
            "loop_share": observation.loop_share >= self.loop_share,
            "seq_rep_4": observation.seq_rep_4 >= self.seq_rep_4,
            "train_loss": observation.train_loss < self.train_loss,
        }
        return tuple(name for name, is_breached in breached.items() if is_breached)


@dataclass(frozen=True)
class Observation:
    """What the rule looks at in one update (train loss in nats per token)."""

    update: int
    loop_share: float
    seq_rep_4: float
    train_loss: float


@dataclass(frozen=True)
class Verdict:
    """The outcome of the rule on a series.

    Attributes:
        collapse_update: first update of the first streak of `patience` degenerate
            samples, None for a censored series.
        reasons: the criteria that fired within that streak, in the rule's order.
    """

    collapse_update: int | None
    reasons: tuple[str, ...] = ()

    @property
    def collapsed(self) -> bool:
        """True when the series holds a persistent breach."""
        return self.collapse_update is not None


def judge(series: Iterable[Observation], rule: CollapseRule) -> Verdict:
    """Find the first persistent breach of the rule in a series ordered by update."""
    streak: list[tuple[Observation, tuple[str, ...]]] = []
    for observation in series:
        reasons = rule.reasons(observation)
        streak = [*streak, (observation, reasons)] if reasons else []
        if len(streak) == rule.patience:
            return Verdict(streak[0][0].update, _union([fired for _, fired in streak]))
    return Verdict(None)


def _union(groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    fired = {name for group in groups for name in group}
    return tuple(name for name in ("loop_share", "seq_rep_4", "train_loss") if name in fired)
