"""The endings of a run: five states that a model can get into, each with a clock of its own.

    drift    it no longer predicts real text as the base model did
    mode     it says little: samples alike, or few different n-grams, or low entropy
    loop     its samples repeat themselves: the collapse rule
    noise    it predicts real text worse, and its entropy is above the base model's
    shrink   its samples end much sooner than the base model's

A state is entered with the first of `patience` probes (or evaluations) in a row that show it,
and left with the first of as many that do not. Levels are relative to the base model. What is
known of it: row 0 in any case; `collapse.base_samples` where they were drawn; else the first
`patience` probes stand for it (docs/collapse-rule.md says what that costs).

Read from rows alone, so that older runs have endings too, as far as their rows tell. Decides
nothing; knows nothing of models, texts or files.
"""

import math
from collections import deque
from collections.abc import Iterable
from statistics import fmean

from collapse_lm.config.sections import CollapseRule
from collapse_lm.measures.names import Row
from collapse_lm.measures.pool import PROBES
from collapse_lm.measures.rule import observe, reasons

Stay = dict[str, int | None]
Profile = dict[str, Stay]

STATES = ("drift", "mode", "loop", "noise", "shrink")
_DEFAULTS = CollapseRule()
_ORDERS = (1, 2, 3, 4)  # of the n-grams of pool.distinct_N
MOST_OVERLAP = 0.8  # of a base model: one that repeats more by itself leaves nothing to tell
_UNKNOWN_DISTINCT = {4: 1.0}  # of a base model without samples: hardly a 4-gram comes twice
MOST_TOKENS = (
    400  # of samples of which that holds: untrained models repeat themselves in longer ones
)


class Clock:
    """When a state was entered and left, as observations come.

    Args:
        patience: observations in a row that enter or leave it.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._is_in = False
        self._streak, self._first = 0, 0  # observations in a row that speak for a change
        self._entered: int | None = None
        self._left: int | None = None
        self._since, self._before, self._entries = 0, 0, 0

    def see(self, update: int, shows: bool | None) -> None:
        """Take an observation of a later update; None is none."""
        if shows is None or shows == self._is_in:
            self._streak = self._streak if shows is None else 0
            return
        self._first = self._first if self._streak else update
        self._streak += 1
        if self._streak == self._patience:
            self._turn()

    def _turn(self) -> None:
        self._is_in, self._streak = not self._is_in, 0
        if self._is_in:
            self._since, self._left = self._first, None
            self._entered = self._first if self._entered is None else self._entered
            self._entries += 1
        else:
            self._left = self._first
            self._before += self._first - self._since

    @property
    def since(self) -> int | None:
        """The update with which the stay began that lasts; None out of the state."""
        return self._since if self._is_in else None

    def stay(self, update: int) -> Stay:
        """What is known with an update.

        Returns:
            `entered`: the update of the first entry, None without any; `left`: that of the
            last exit, None without any and within the state; `updates` within it, over all
            entries; `entries`.
        """
        now = update - self._since + 1 if self._is_in else 0
        return {
            "entered": self._entered,
            "left": self._left,
            "updates": self._before + now,
            "entries": self._entries,
        }


class Base:
    """The levels of the base model that states are relative to; NaN where unknown.

    Without samples of the base model the first probes stand for it: one alone would have a low
    entropy, or be short, by chance.

    Args:
        first: how many probes do.

    Attributes:
        overlap: its own pool.overlap; without samples of it 0.
        distinct: its own pool.distinct_N by N; without samples of it 1 for 4-grams, and empty
            while the last probes are too long for that; rows of older runs do not tell their
            length, and count as short.
    """

    def __init__(self, first: int) -> None:
        self.overlap, self.distinct = 0.0, dict(_UNKNOWN_DISTINCT)
        self._first, self._has_samples = first, False
        self._recent = deque[float](maxlen=PROBES)  # tokens of the samples that are pooled
        self._entropies, self._lengths = list[float](), list[float]()

    @property
    def entropy(self) -> float:
        """Mean predictive entropy (nats) of its probes, or of the first ones so far."""
        return fmean(self._entropies) if self._entropies else math.nan

    @property
    def length(self) -> float:
        """Mean tokens of its samples; NaN until enough are known."""
        is_known = len(self._lengths) == self._first
        return fmean(self._lengths) if is_known else math.nan

    def see(self, row: Row) -> None:
        """Take note of what a row tells of the base model."""
        if "base_samples.count" in row.values:
            self._take_samples(row)
        if "probe.length" in row.values and not self._has_samples:
            self._recent.append(row.get("probe.length"))
            are_short = max(self._recent) <= MOST_TOKENS
            self.distinct = dict(_UNKNOWN_DISTINCT) if are_short else {}
        for name, known in (("probe.entropy", self._entropies), ("probe.length", self._lengths)):
            if name in row.values and len(known) < self._first:
                known.append(row.get(name))

    def _take_samples(self, row: Row) -> None:
        self._entropies = [row.get("base_samples.entropy")] * self._first
        self._lengths = [row.get("base_samples.length")] * self._first
        if "base_samples.overlap" in row.values:
            self.overlap = row.get("base_samples.overlap")
            self.distinct = {n: row.get(f"base_samples.distinct_{n}") for n in _ORDERS}
            self._has_samples = True


class Endings:
    """The states of a run, as its rows come; each row costs the same.

    Args:
        rule: thresholds, those of the collapse rule among them; by default those of a run.

    Attributes:
        base: the levels of the base model, as far as they are known.
        shown: by state, what the latest row showed; None where it said nothing.
    """

    def __init__(self, rule: CollapseRule = _DEFAULTS) -> None:
        self.rule = rule
        self.base = Base(rule.patience)
        self._clocks = {state: Clock(rule.patience) for state in STATES}
        self._start: tuple[str, float] | None = None  # first corpus, and the base model's loss
        self._away: dict[str, float] = {}  # the latest distances from the base model, in nats
        self.shown: dict[str, bool | None] = dict.fromkeys(STATES)
        self._update = 0

    def see(self, row: Row) -> None:
        """Take the row of the next update, from row 0 on."""
        self._update = row.update
        self.base.see(row)
        self.shown = {
            "drift": self._drift(row),
            "mode": self._mode(row),
            "loop": self._loop(row),
            "noise": self._noise(row),
            "shrink": self._shrink(row),
        }
        for state, clock in self._clocks.items():
            clock.see(row.update, self.shown[state])

    @property
    def profile(self) -> Profile:
        """By state: `entered`, `left`, `updates` and `entries` (see `Clock.stay`)."""
        return {state: clock.stay(self._update) for state, clock in self._clocks.items()}

    @property
    def within(self) -> dict[str, int]:
        """The states that it is in now, each with the update since when."""
        since = {state: clock.since for state, clock in self._clocks.items()}
        return {state: update for state, update in since.items() if update is not None}

    def _drift(self, row: Row) -> bool | None:
        losses = row.labelled("validation.loss")
        told: dict[str, float] = {}
        if losses and self._start is None:
            self._start = next(iter(losses.items()))
        elif self._start is not None and self._start[0] in losses:
            told["change"] = losses[self._start[0]] - self._start[1]
        if "prefix.kl" in row.values:
            told["kl"] = row.get("prefix.kl")
        self._away |= told
        return self._has_drifted() if told else None

    def _has_drifted(self) -> bool:
        return any(distance > self.rule.drift for distance in self._away.values())

    def _mode(self, row: Row) -> bool | None:
        base, rule = self.base, self.rule
        known = base.overlap + (1 - base.overlap) * rule.overlap
        is_known = base.overlap <= MOST_OVERLAP and row.get("pool.overlap") >= known
        names = {n: f"pool.distinct_{n}" for n in base.distinct}
        if not {"pool.overlap", "probe.entropy", *names.values()} & row.values.keys():
            return None
        return (
            is_known
            or row.get("probe.entropy") < rule.low_entropy * base.entropy
            or any(row.get(names[n]) <= rule.distinct * level for n, level in base.distinct.items())
        )

    def _loop(self, row: Row) -> bool | None:
        seen = observe(row)
        return None if seen is None else bool(reasons(seen, self.rule))

    def _noise(self, row: Row) -> bool | None:
        if "probe.entropy" not in row.values or not self._away:
            return None
        is_high = row.get("probe.entropy") - self.base.entropy > self.rule.high_entropy
        # A model that learns another kind of text is far from the base model, and may be less
        # sure, without predicting worse: where the loss is known, the loss decides.
        lost = self._away.get("change", self._away.get("kl", math.nan))
        return is_high and lost > self.rule.drift

    def _shrink(self, row: Row) -> bool | None:
        if "probe.length" not in row.values or math.isnan(self.base.length):
            return None
        return row.get("probe.length") < self.rule.short * self.base.length


def profile_of(rows: Iterable[Row], rule: CollapseRule = _DEFAULTS) -> Profile:
    """The endings of a run from its rows, as summary.json has them.

    Args:
        rows: of updates.jsonl, from row 0 on (`RunReader(RUN).updates()`).
        rule: thresholds; by default those of a run (`load_config(RUN).collapse` are its own).

    Returns:
        By state (`STATES`, in that order): `entered`, the update of the first entry, None
        without any; `left`, that of the last exit, None without any and within the state;
        `updates` within it, over all `entries`. A state whose measurements the rows lack is
        never entered.
    """
    endings = Endings(rule)
    for row in rows:
        endings.see(row)
    return endings.profile
