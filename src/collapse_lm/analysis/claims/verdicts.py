"""What a claim is, what a test of it found, and the rules that turn numbers to a verdict.

The thresholds are fixed here, before any run is seen, and are written into
claims.json. Knows nothing of particular claims.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from scipy.stats import beta

from collapse_lm._util.json_text import to_json
from collapse_lm.analysis.stats.trend import Interval

Verdict = Literal["supported", "not supported", "undecided", "not tested"]

SEED = 0  # of every permutation and bootstrap: equal runs give equal claims
CONFIDENCE = 0.95
SIGNIFICANT = 0.05  # largest p-value of a verdict
FEWEST_SEEDS = 3  # fewer are too few to tell an effect from their chance
FEWEST_UNITS = 6  # with 5 runs that all agree, the interval of their share reaches below 1/2
HALF = 0.5
EVERY_UPDATE = 0.95  # share of updates that counts as "each"
ALMOST_ZERO = 0.1  # nats per token
CONSISTENT = 0.9  # share of runs that counts as "consistently"
SURELY = 0.75  # above which the interval of that share must lie
PAPER_UPDATES = 1000  # horizon of the paper's runs (section 3)
NEGLIGIBLE = 0.1  # nats per token: a change (or a change per tenfold rate) that says nothing
LOOKS = 10  # updates past a collapse without which nobody has watched what follows


@dataclass(frozen=True)
class Effect:
    """The number a verdict rests on, with its 95 % interval.

    NaN is undefined; an infinite limit is a limit that the data do not give.
    """

    name: str
    value: float
    lower: float
    upper: float
    note: str = ""


@dataclass(frozen=True)
class Statement:
    """What the paper says, and how it is tested, fixed before the runs.

    Attributes:
        id: short name.
        section: of the paper.
        sentence: the paper's words.
        supports: what would support it.
        test: what is computed.
        rule: the verdict's rule, with its thresholds.
        limits: what a test of this kind cannot show.
    """

    id: str
    section: str
    sentence: str
    supports: str
    test: str
    rule: str
    limits: str


@dataclass(frozen=True)
class Finding:
    """What a test found.

    Attributes:
        verdict: supported, not supported, undecided or not tested.
        reason: why, in words.
        effect: the number it rests on; None without a test.
        p_value: NaN where the test has none.
        group: the sweep that was used.
        runs: runs behind the effect.
        levels: name -> runs, seeds, collapses and median time of each level compared.
        details: further numbers, by name.
        reach: what this number of units can show at best.
        reachable: the verdicts that runs of this design could have had, whatever they found.
    """

    verdict: Verdict
    reason: str
    effect: Effect | None = None
    p_value: float = math.nan
    group: str = ""
    runs: int = 0
    levels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    reach: str = ""
    reachable: tuple[Verdict, ...] = ("not tested",)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with what was found."""

    statement: Statement
    finding: Finding

    @property
    def id(self) -> str:
        """Short name of the claim."""
        return self.statement.id

    @property
    def verdict(self) -> Verdict:
        """supported, not supported, undecided or not tested."""
        return self.finding.verdict

    @property
    def limits(self) -> str:
        """What a test of this kind and size can and cannot show."""
        return f"{self.statement.limits} {self.finding.reach}".strip()

    def row(self) -> dict[str, Any]:
        """Return the entry of claims.json; what JSON lacks is null and named in `nonfinite`."""
        found = {
            **asdict(self.statement),
            **asdict(self.finding),
            "limits": self.limits,
            "confidence": CONFIDENCE,
        }
        del found["reach"]
        return dict(json.loads(to_json(found)))


def share_of(successes: int, runs: int, independent: float | None = None) -> Interval:
    """Share of runs with the interval of Clopper and Pearson (1934); NaN for no runs.

    Args:
        successes: runs that show it.
        runs: all runs.
        independent: to how many independent runs they amount, where runs of one model
            may be alike; the interval is then that of as many (Korn and Graubard 1998,
            at the largest design effect). By default all are independent.
    """
    if not runs:
        return Interval(math.nan, math.nan, math.nan, 0)
    share, n = successes / runs, float(runs if independent is None else independent)
    yes, no, tail = share * n, (1 - share) * n, (1 - CONFIDENCE) / 2
    lower = float(beta.ppf(tail, yes, no + 1)) if successes else 0.0
    upper = float(beta.ppf(1 - tail, yes + 1, no)) if successes < runs else 1.0
    return Interval(share, lower, upper, runs)


def as_effect(name: str, interval: Interval, note: str = "") -> Effect:
    """Name an interval."""
    return Effect(name, interval.value, interval.lower, interval.upper, note)


def decide(*tests: tuple[Interval, float]) -> Verdict:
    """Compare intervals with thresholds, each (interval, threshold).

    Supported where every interval lies above its threshold, not supported where any
    lies below, undecided otherwise. A NaN lies nowhere.
    """
    if any(interval.upper < threshold for interval, threshold in tests):
        return "not supported"
    if all(interval.lower > threshold for interval, threshold in tests):
        return "supported"
    return "undecided"


def reachable_by(*, supported: bool, not_supported: bool) -> tuple[Verdict, ...]:
    """The verdicts that a design can have, given which of the two decided ones it can."""
    asked: tuple[tuple[Verdict, bool], ...] = (
        ("supported", supported),
        ("not supported", not_supported),
        ("undecided", True),
    )
    return tuple(verdict for verdict, is_within in asked if is_within)


def fewest_above(threshold: float) -> int:
    """Return how many runs that all agree put the interval of their share above a threshold."""
    runs = 1
    while not share_of(runs, runs).lower > threshold:
        runs += 1
    return runs
