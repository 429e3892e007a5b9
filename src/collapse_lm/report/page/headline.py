"""What a page is called, its verdict in one sentence, and what a reader must know beside. Pure."""

from collections.abc import Iterator, Sequence

from collapse_lm.report.page.entry import model_name
from collapse_lm.report.page.feed import RunFeed
from collapse_lm.report.page.groups import Group
from collapse_lm.report.page.verdict import sentence

_TOLD = 4  # groups that a headline tells one by one
_NAMED = 10  # runs that a notice names


def headline(groups: Sequence[Group]) -> str:
    """The verdict on a run, or on several together."""
    runs = [feed for group in groups for feed in group.runs]
    if len(runs) == 1:
        return sentence(runs[0])
    if not runs:
        return "No run is here yet."
    told = f"{_share(runs)} collapsed{_when(runs)}"
    if 1 < len(groups) <= _TOLD:
        each = (f"{g.label}: {_short_share(g.runs)}{_when(g.runs)}" for g in groups)
        told += f" ({'; '.join(each)})"
    going = sum(feed.status == "running" for feed in runs)
    return f"{told}.{f' {going} still running.' if going else ''}"


def _collapsed(runs: Sequence[RunFeed]) -> list[int]:
    """Updates of the collapses that training brought about, in order."""
    found = (f.verdict.collapse_update for f in runs if not f.verdict.from_the_start)
    return sorted(update for update in found if update is not None)


def _share(runs: Sequence[RunFeed]) -> str:
    return f"{len(_collapsed(runs))} of {len(runs)} runs"


def _short_share(runs: Sequence[RunFeed]) -> str:
    return f"{len(_collapsed(runs))} of {len(runs)}"


def _when(runs: Sequence[RunFeed]) -> str:
    found = _collapsed(runs)
    if not found:
        return ""
    if found[0] == found[-1]:
        return f", at update {found[0]}"
    return f", between updates {found[0]} and {found[-1]}"


def title_of(name: str, runs: Sequence[RunFeed]) -> str:
    """What a page is called: after its only run, or after the folder that it shows."""
    if len(runs) == 1:
        return f"{model_name(runs[0])}, seed {runs[0].manifest['seed']}"
    return f"{name}, {len(runs)} runs"


def notices(runs: Sequence[RunFeed], names: dict[int, str]) -> Iterator[str]:
    """What was not recorded, not read, left out or thinned.

    Args:
        runs: of the page.
        names: of runs, by the id of their object.
    """
    for feed in runs:
        for fault in feed.faults:
            yield f"{names[id(feed)]} is damaged and shown as far as it could be read: {fault}"
    old = [names[id(feed)] for feed in runs if feed.manifest["format_version"] == 1]
    if old:
        yield (
            f"Recorded in format 1, which had no probabilities of tokens, no changes of the "
            f"validation loss and no human reference: {_list(old)}."
        )
    open_ended = [names[id(feed)] for feed in runs if feed.status not in ("finished", "diverged")]
    if open_ended and len(runs) > 1:
        yield (
            "Not ended by themselves (running, interrupted, killed or failed), so in no survival "
            f"curve: {_list(open_ended)}."
        )
    began = [names[id(feed)] for feed in runs if feed.verdict.from_the_start]
    if began and len(runs) > 1:
        yield (
            "Degenerate before any training, so without a time to collapse and in no survival "
            f"curve: {_list(began)}."
        )
    thinned = [names[id(feed)] for feed in runs if feed.samples.thinned]
    if thinned:
        yield (
            "So that the page stays below 40 MB, it holds the samples of some updates only "
            f"(log-spaced, and those near a state), for {_list(thinned)}; "
            "the run directory has them all."
        )


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
