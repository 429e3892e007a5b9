"""What is repeated: runs, or whole models where sizes are compared.

Seeds of one model repeat the self-training, not the training, so they are no second
model. Knows nothing of particular claims.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_lm.analysis.claims.verdicts import (
    FEWEST_SEEDS,
    FEWEST_UNITS,
    Verdict,
    reachable_by,
    share_of,
)
from collapse_lm.analysis.levels import SIZE
from collapse_lm.analysis.outcomes import Measured, Outcome
from collapse_lm.analysis.stats.trend import Interval

UNIT = 'the unit is the run, or the model in the group "size"'  # for the words of a test


@dataclass(frozen=True)
class Units:
    """The units of some runs.

    Attributes:
        name: run or model.
        labels: of the unit of each run, in the order of the runs.
        seeds: number of distinct seeds.
    """

    name: str
    labels: tuple[str, ...]
    seeds: int

    @property
    def count(self) -> int:
        """Number of units."""
        return len(set(self.labels))

    @property
    def effective(self) -> float:
        """Number of independent runs if runs of one unit were all alike (Kish 1965).

        That of runs where each is a unit; that of models where each has as many runs.
        """
        sizes = Counter(self.labels).values()
        return sum(sizes) ** 2 / sum(size**2 for size in sizes) if sizes else 0.0

    def share(self, successes: int) -> Interval:
        """Share of the runs that show something, with an interval over units."""
        return share_of(successes, len(self.labels), self.effective)

    def reachable(self, above: float, below: float | None = None) -> tuple[Verdict, ...]:
        """The verdicts of a share that is asked to lie above (or below) a threshold.

        Args:
            above: for "supported".
            below: for "not supported"; by default the same.
        """
        can_decide = not self.too_few()
        all_of, none_of = (share_of(n, 1, self.effective or 1) for n in (1, 0))
        low = above if below is None else below
        return reachable_by(
            supported=can_decide and all_of.lower > above,
            not_supported=can_decide and none_of.upper < low,
        )

    def details(self) -> dict[str, Any]:
        """Name and number of the units, for the details of a finding."""
        return {"unit": self.name, "units": self.count}

    def told(self) -> str:
        """Their number in words."""
        return f"{self.count} {self.name}{'' if self.count == 1 else 's'}"

    def too_few(self) -> str:
        """Say why they cannot carry a verdict; empty if they can."""
        if self.seeds < FEWEST_SEEDS:
            return few_seeds(self.seeds)
        if self.count < FEWEST_UNITS:
            return f"{self.told()}: fewer than {FEWEST_UNITS} cannot carry a verdict"
        return ""


def units_of(group: str, runs: Sequence[Measured]) -> Units:
    """Return the units of runs of a group: models in the group "size", else the runs."""
    outcomes = [run.outcome for run in runs]
    label: Callable[[Outcome], str] = (lambda o: o.model) if group == SIZE else (lambda o: o.run)
    name = "model" if group == SIZE else "run"
    return Units(name, tuple(map(label, outcomes)), len({o.seed for o in outcomes}))


def few_seeds(seeds: int) -> str:
    """Say that so few seeds tell nothing."""
    return f"{seeds} seeds: fewer than {FEWEST_SEEDS} cannot tell an effect from chance"
