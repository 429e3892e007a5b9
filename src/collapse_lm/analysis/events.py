"""When something happened to a run: times to events, each known between two looks. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.survival import KaplanMeier, kaplan_meier

RISE = 0.5  # nats of validation loss above the base model's
_WINDOW = 5  # probes of a running median: one sample's entropy is too rough


@dataclass(frozen=True)
class EventTime:
    """A time to an event.

    Attributes:
        time: updates; between two evaluations on the straight line that joins them. That of the
            last look where the event was not seen.
        observed: False for a run that is censored at `time`.
        apart: updates between the looks about it; 0 where it is censored.
    """

    time: float
    observed: bool
    apart: float = 0.0


Event = Callable[[Measured], EventTime]


def loop(run: Measured) -> EventTime:
    """The collapse update of the rule."""
    outcome = run.outcome
    if outcome.collapse_update is None:
        return EventTime(outcome.time, observed=False)
    apart = outcome.collapse_update - (outcome.collapse_after or 0)
    return EventTime(outcome.collapse_update, observed=True, apart=apart)


def rise(run: Measured) -> EventTime:
    """When the validation loss on the first corpus is half a nat above that of the base model.

    A loss that is not finite is above any other.
    """
    corpora = run.outcome.corpora
    return _crossing(run.validation_loss(corpora[0]) if corpora else {}, RISE)


def entropy_halved(run: Measured) -> EventTime:
    """When the median entropy of five probes in a row is half that of the first probe.

    The time is that of the middle probe.
    """
    seen = run.series("probe.entropy")
    updates, entropies = list(seen), list(seen.values())
    smooth = {
        updates[place + _WINDOW // 2]: median(entropies[place : place + _WINDOW])
        for place in range(len(updates) - _WINDOW + 1)
    }
    if not smooth:
        return EventTime(max(updates, default=0), observed=False)
    falls = {updates[0]: 0.0} | {u: entropies[0] - value for u, value in smooth.items()}
    return _crossing(falls, entropies[0] / 2)


def _crossing(series: Mapping[int, float], height: float) -> EventTime:
    """When a series is first `height` above where it begins."""
    if not series:
        return EventTime(0, observed=False)
    start = next(iter(series.values()))
    for (before, low), (update, high) in pairwise(series.items()):
        if high - start >= height or not math.isfinite(high):
            share = (start + height - low) / (high - low) if math.isfinite(high) else 1.0
            time = before + share * (update - before)
            return EventTime(time, observed=True, apart=update - before)
    return EventTime(max(series), observed=False)


EVENTS: Mapping[str, Event] = {
    "loop": loop,
    f"validation +{RISE:g} nats": rise,
    "entropy halved": entropy_halved,
}


def dose_at(run: Measured, time: float) -> float:
    """The sum of the learning rates up to a time, which may lie between two updates."""
    doses = run.dose()
    below = max((update for update in doses if update <= time), default=0)
    above = min((update for update in doses if update >= time), default=below)
    low, high = doses.get(below, 0.0), doses.get(above, 0.0)
    return low if above == below else low + (time - below) / (above - below) * (high - low)


def survival_of(times: Sequence[EventTime]) -> KaplanMeier:
    """The Kaplan-Meier curve of times to an event."""
    return kaplan_meier([seen.time for seen in times], [seen.observed for seen in times])


def fineness(times: Sequence[EventTime]) -> float:
    """Updates between the looks about an event, at most: times are no finer."""
    return max((seen.apart for seen in times), default=0.0)
