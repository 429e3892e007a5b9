"""How the runs of an arm ended: which states they got into, how many of them, and when. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from collapse_lm.analysis.outcomes import Measured
from collapse_lm.measures.endings import STATES, Profile

NONE = "none"
MEANINGS = {
    "drift": "real text is predicted worse than by the base model",
    "mode": "samples are alike, or of few different words, or of low entropy",
    "loop": "samples repeat themselves: the collapse rule",
    "noise": "drift with more entropy than the base model",
    "shrink": "samples end much sooner",
}
# A run at its end is told by the first of these that it is in: drift comes with most others.
_TELLING = ("loop", "mode", "noise", "shrink", "drift")


@dataclass(frozen=True)
class StateShare:
    """What the runs of an arm had to do with one state.

    Attributes:
        state: drift, mode, loop, noise or shrink.
        runs: of the arm.
        entered: how many of them were in the state at least once.
        left: how many of these were out of it at their end.
        first: median update of the first entry, of those that entered; None without any.
        earliest, latest: likewise.
        updates: median number of updates within the state, likewise.
    """

    state: str
    runs: int
    entered: int
    left: int
    first: float | None
    earliest: int | None
    latest: int | None
    updates: float | None


def shares_of(runs: Sequence[Measured]) -> list[StateShare]:
    """The profile of an arm: a share per state, in the order of the states."""
    return shares_in([run.endings() for run in runs])


def shares_in(profiles: Sequence[Profile]) -> list[StateShare]:
    """The same of the profiles of runs."""
    return [_share(state, profiles) for state in STATES]


def ending_of(run: Measured) -> str:
    """The state that a run is in at its end; of several the one that says most; else `none`."""
    return ending_in(run.endings())


def ending_in(profile: Profile) -> str:
    """The same of the profile of a run."""
    return next((state for state in _TELLING if _is_within(profile, state)), NONE)


def common_ending(runs: Sequence[Measured]) -> tuple[str, int]:
    """The most frequent ending of some runs and how many have it; of equals the one told first."""
    return commonest([ending_of(run) for run in runs])


def commonest(endings: Sequence[str]) -> tuple[str, int]:
    """The same of endings."""
    counts = Counter(endings)
    state = max((*_TELLING, NONE), key=lambda state: counts[state])
    return state, counts[state]


def _share(state: str, profiles: Sequence[Profile]) -> StateShare:
    stays = [profile[state] for profile in profiles if state in profile]
    entries = [stay["entered"] for stay in stays if stay["entered"] is not None]
    within = [stay["updates"] or 0 for stay in stays if stay["entered"] is not None]
    return StateShare(
        state=state,
        runs=len(profiles),
        entered=len(entries),
        left=sum(stay["left"] is not None for stay in stays),
        first=median(entries) if entries else None,
        earliest=min(entries, default=None),
        latest=max(entries, default=None),
        updates=median(within) if within else None,
    )


def _is_within(profile: Profile, state: str) -> bool:
    stay = profile.get(state, {})
    return stay.get("entered") is not None and stay.get("left") is None
