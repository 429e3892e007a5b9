"""From paths to a page: find the runs, read each, put them side by side.

`PageMaker` keeps what it has read, so that a live view reads only what is new.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_lm._version import __version__
from collapse_lm.report.page.blocks import inlined_size, pack
from collapse_lm.report.page.compare import MOST_PAIRS, compare_all, results_of
from collapse_lm.report.page.entry import entry, states
from collapse_lm.report.page.feed import RunFeed, twins_of
from collapse_lm.report.page.find import (
    UNREADABLE,
    common_root,
    no_runs,
    readers_of,
    reason_of,
)
from collapse_lm.report.page.groups import (
    SEED,
    Group,
    groups_of,
    run_labels,
    settings_of,
    varied_keys,
)
from collapse_lm.report.page.headline import headline, notices, title_of
from collapse_lm.report.page.measured import measured
from collapse_lm.report.page.names import TWINS, panels_of, told_names, with_collapse
from collapse_lm.report.page.private import cleaned
from collapse_lm.report.page.samples import fair_shares, thin

FORMAT = 1
MOST_BYTES = 37_000_000  # of all blocks, as they stand in a page, which stays below 40 MB
_OF_A_SWEEP = ("sweep.yaml", "calls.jsonl")  # one of them is in its folder, or a reproduction's


@dataclass(frozen=True)
class Page:
    """A page: what it shows, and the heavy data that it shows when asked.

    Attributes:
        content: the page object.
        blocks: by id, each gzip of JSON.
    """

    content: dict[str, Any]
    blocks: Mapping[str, bytes]


class PageMaker:
    """Makes pages of the runs below some paths, again and again as they grow.

    A run keeps its id from page to page.

    Args:
        paths: of run directories, sweeps, reproductions, or folders that hold any of them.
        live: true for the page of a view.
        most_bytes: of all blocks; beyond it samples are thinned. None thins nothing.
        refuse: why a run directory is not to be read, or an empty text; None reads all.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        live: bool = False,
        most_bytes: int | None = MOST_BYTES,
        refuse: Callable[[Path], str] | None = None,
    ) -> None:
        self._paths, self._live, self._most = list(paths), live, most_bytes
        self._refuse = refuse
        self._feeds: dict[Path, RunFeed] = {}
        self._numbers: dict[Path, int] = {}
        self._left_out: dict[Path, str] = {}

    def refresh(self) -> set[str]:
        """Look at all runs; return the ids of those that changed, or came.

        Raises:
            UserError: for a path that is not there.
        """
        changed = set()
        self._left_out = {}
        places = [reader.path for reader in readers_of(self._paths)]
        for place in places:
            if self._refuse and (reason := self._refuse(place)):
                self._left_out[place] = reason
                self._feeds.pop(place, None)
                continue
            feed = self._feeds.get(place) or RunFeed(place)
            try:
                has_new = feed.refresh()
            except UNREADABLE as error:
                self._left_out[place] = reason_of(error)
                self._feeds.pop(place, None)
                continue
            is_known = place in self._feeds
            self._feeds[place] = feed
            if has_new or not is_known:
                changed.add(place)
        for place in set(self._feeds) - set(places):
            del self._feeds[place]
        self._number(changed)
        return {self._id(place) for place in changed}

    def _number(self, places: Iterable[Path]) -> None:
        """Give new runs their ids, in the order of a page."""
        new = set(places) - set(self._numbers)
        if not new:
            return
        order = [feed.path for group in groups_of(self._in_order()) for feed in group.runs]
        for place in order:
            if place in new:
                self._numbers[place] = len(self._numbers)

    def _in_order(self) -> list[RunFeed]:
        return [self._feeds[place] for place in sorted(self._feeds)]

    def _id(self, place: Path) -> str:
        return f"r{self._numbers[place]}"

    def page(self) -> Page:
        """The page of what was seen at the last `refresh`."""
        feeds = self._in_order()
        groups = groups_of(feeds)
        runs = [feed for group in groups for feed in group.runs]
        root = common_root([*self._feeds, *self._left_out])
        names = {id(feed): _name(feed.path, root, alone=len(feeds) == 1) for feed in runs}
        ids = {id(feed): self._id(feed.path) for feed in runs}
        blocks = self._blocks(runs, ids)
        content = {
            "format": FORMAT,
            "kind": self._kind(runs),
            "title": title_of(_title(self._paths, root), runs),
            "headline": headline(groups),
            "version": __version__,
            "made": None,
            "live": self._live,
            "runs": _entries(groups, ids, names),
            **_names(runs, with_times=len(runs) > 1),
            "groups": [_group(group, ids) for group in groups],
            "compare": list(compare_all({g.identity: g.runs for g in groups})),
            "compared": {"names": results_of(runs), "twins": TWINS},
            "sweep": self._sweep(groups, ids),
            "left_out": [
                {"run": _name(place, root, alone=False), "reason": reason}
                for place, reason in sorted(self._left_out.items())
            ],
            "notices": [*notices(runs, names), *_too_many(groups)],
        }
        return Page(cleaned(content), blocks)

    def _kind(self, runs: Sequence[RunFeed]) -> str:
        if self._folder() is not None:
            return "sweep"
        return "run" if len(runs) == 1 else "runs"

    def _folder(self) -> Path | None:
        """The folder of the sweep or the reproduction, where the page is of one."""
        is_one = len(self._paths) == 1 and any((self._paths[0] / n).is_file() for n in _OF_A_SWEEP)
        return self._paths[0] if is_one else None

    def _sweep(self, groups: Sequence[Group], ids: Mapping[int, str]) -> dict[str, Any] | None:
        if self._folder() is None and len(groups) < 2:
            return None
        from collapse_lm.report.page.survival import sweep_section  # brings scipy.stats

        keys = list(groups[0].values) if groups else []
        return sweep_section(groups, keys, ids, self._folder())

    def _blocks(self, runs: Sequence[RunFeed], ids: Mapping[int, str]) -> dict[str, bytes]:
        rows = {f"rows-{ids[id(feed)]}": pack(feed.columns.block()) for feed in runs}
        if self._most is not None:
            self._thin(runs, self._most - inlined_size(rows.values()))
        samples = {
            f"samples-{ids[id(feed)]}-{place}": block
            for feed in runs
            for place, (block, _) in enumerate(feed.samples.blocks())
        }
        return {**rows, **samples}

    def _thin(self, runs: Sequence[RunFeed], budget: int) -> None:
        """Leave out samples where all of them take more than a budget of bytes."""
        sizes = [feed.samples.size() for feed in runs]
        if sum(sizes) <= budget:
            return
        for feed, share in zip(runs, fair_shares(sizes, budget), strict=True):
            moments = [state["update"] for state in states(feed)]
            feed.samples = thin(feed.samples, share, moments)


def make_page(paths: Sequence[Path], *, live: bool = False) -> Page:
    """Read all runs below some paths, once.

    Raises:
        UserError: for a path that is not there, or where none holds a run.
    """
    maker = PageMaker(paths, live=live)
    maker.refresh()
    page = maker.page()
    if not page.content["runs"] and not page.content["left_out"]:
        raise no_runs(paths)
    return page


def _name(place: Path, root: Path, *, alone: bool) -> str:
    return place.name if alone else place.relative_to(root).as_posix()


def _title(paths: Sequence[Path], root: Path) -> str:
    named = Path(os.path.abspath(paths[0])).name if len(paths) == 1 else root.name  # noqa: PTH100
    return named or "runs"


def _entries(
    groups: Sequence[Group], ids: Mapping[int, str], names: Mapping[int, str]
) -> list[dict[str, Any]]:
    runs = [feed for group in groups for feed in group.runs]
    labels, keys = run_labels(groups), [*varied_keys(runs)]
    found = []
    for group in groups:
        for feed in group.runs:
            made = entry(feed, ids[id(feed)], names[id(feed)])
            settings = settings_of(feed, [key for key in keys if key != SEED])
            beside: dict[str, Any] = {"group": group.identity, "label": labels[id(feed)]}
            beside["measured"] = measured(feed)
            seed = {SEED: str(feed.manifest["seed"])} if len(runs) > 1 else {}
            found.append({**made, **beside, "settings": {**settings, **seed}})
    return found


def _group(group: Group, ids: Mapping[int, str]) -> dict[str, Any]:
    runs = [ids[id(feed)] for feed in group.runs]
    return {"id": group.identity, "label": group.label, "runs": runs}


def _names(runs: Sequence[RunFeed], *, with_times: bool) -> dict[str, Any]:
    names = list(dict.fromkeys(name for feed in runs for name in feed.columns.values))
    told = told_names(names)
    if with_times:
        told = with_collapse(told)
    twins = twins_of(runs)
    panels = panels_of([name for name in names if name not in twins])
    return {"names": told, "panels": panels}


def _too_many(groups: Sequence[Group]) -> Iterator[str]:
    pairs = len(groups) * (len(groups) - 1) // 2
    if pairs > MOST_PAIRS:
        yield (
            f"Of {pairs} pairs of groups the first {MOST_PAIRS} are compared here; "
            "`collapse-lm compare A B` compares any two."
        )
