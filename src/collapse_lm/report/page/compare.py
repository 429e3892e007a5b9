"""Groups of runs side by side: the difference of each measure with its interval. Pure.

The unit is the run. Where two groups share seeds, runs of one seed are a pair, as they share
random numbers; elsewhere the interval is Welch's. Both are Student's t, 95 %.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, variance
from typing import Any

from collapse_lm.report.page.blocks import number, told_number
from collapse_lm.report.page.feed import RunFeed, twins_of
from collapse_lm.report.page.measured import measured, other_measure
from collapse_lm.report.page.names import COLLAPSE_UPDATE, base_of

MOST_PAIRS = 66
_TAIL = 0.975
_ROUNDING = 2e-5  # of a value: columns hold six digits
_FEW = ("one run each gives no interval", "a single run gives no interval")
_LOWEST = ("train.loss", "validation.loss")
_AT_COLLAPSE = ("validation.loss", "validation.change")
_NO_RESULT: tuple[str, ...] = (
    *("seconds", "validation.tokens", "validation.change_se"),
    *("train.lr", "train.applied", "train.tokens", "train.steps"),
)
_ORDER: tuple[str | tuple[str, ...], ...] = (
    *("validation.loss", "validation.", "train.loss", "text."),
    ("probe.entropy", "probe.sampling_entropy", "draw.entropy", "draw.sampling_entropy"),
)

Values = Sequence[tuple[int, float]]  # (seed, value) of each run; NaN where a run has none
Measure = tuple[str, str]  # name, and where it is taken: end, collapse or lowest


@dataclass(frozen=True)
class Difference:
    """b less a, of means over runs.

    Attributes:
        a, b: means.
        difference: b - a.
        lower, upper: of its 95 % interval; NaN where there is none, and `note` says why.
        n: pairs, or runs of both where they are no pairs.
        paired: true where runs were compared seed by seed.
        note: what else there is to know.
    """

    a: float
    b: float
    difference: float
    lower: float
    upper: float
    n: int
    paired: bool
    note: str

    def row(self) -> dict[str, Any]:
        """As a page holds it."""
        numbers = ("a", "b", "difference", "lower", "upper")
        found: dict[str, Any] = {name: number(getattr(self, name)) for name in numbers}
        return {**found, "n": self.n, "paired": self.paired, "note": self.note}


def difference_of(a: Values, b: Values) -> Difference:
    """Compare two groups of runs.

    Args:
        a: (seed, value) of each run; runs whose value is NaN are left out.
        b: likewise.
    """
    known_a, known_b = ([pair for pair in of if math.isfinite(pair[1])] for of in (a, b))
    lost = len(a) + len(b) - len(known_a) - len(known_b)
    notes = [f"no such value in {lost} of {len(a) + len(b)} runs"] if lost else []
    if not known_a or not known_b:
        nan, note = math.nan, "one of the two has no such value"
        a_mean, b_mean = (fmean(v for _, v in of) if of else nan for of in (known_a, known_b))
        return Difference(a_mean, b_mean, nan, nan, nan, 0, paired=False, note=note)
    shared = _shared_seeds(known_a, known_b)
    if shared:
        left_a, left_b = dict(known_a), dict(known_b)
        apart = len(known_a) + len(known_b) - 2 * len(shared)
        if apart:
            notes.append(f"without a partner of the same seed: {apart} of {len(a) + len(b)} runs")
        return _paired([left_a[s] for s in shared], [left_b[s] for s in shared], notes)
    return _welch([v for _, v in known_a], [v for _, v in known_b], notes)


def _shared_seeds(a: Values, b: Values) -> list[int]:
    """Seeds that pair the runs of two groups; none where a seed stands twice in one of them.

    One shared seed pairs only single runs: elsewhere it would leave out all others.
    """
    seeds_a, seeds_b = [seed for seed, _ in a], [seed for seed, _ in b]
    if len(set(seeds_a)) < len(seeds_a) or len(set(seeds_b)) < len(seeds_b):
        return []
    shared = sorted(set(seeds_a) & set(seeds_b))
    return shared if len(shared) > 1 or len(a) == len(b) == 1 else []


def _paired(a: Sequence[float], b: Sequence[float], notes: list[str]) -> Difference:
    changes = [y - x for x, y in zip(a, b, strict=True)]
    middle, half = fmean(changes), math.nan
    if len(changes) < 2:
        notes.append(_FEW[0])
    elif not _alike(changes, max(map(abs, (*a, *b)))):
        half = _quantile(len(changes) - 1) * math.sqrt(variance(changes) / len(changes))
    else:
        notes.append("all pairs differ alike, which gives no interval")
    note = "; ".join(notes)
    limits = (middle - half, middle + half)
    return Difference(fmean(a), fmean(b), middle, *limits, len(changes), True, note)


def _alike(values: Sequence[float], size: float) -> bool:
    """True for values that differ by no more than six digits of numbers of a size can tell."""
    return max(values) - min(values) <= _ROUNDING * size


def _welch(a: Sequence[float], b: Sequence[float], notes: list[str]) -> Difference:
    middle, half = fmean(b) - fmean(a), math.nan
    if len(a) < 2 or len(b) < 2:
        notes.append(_FEW[len(a) != len(b)])
    else:
        parts = [variance(of) / len(of) for of in (a, b)]
        if sum(parts) > 0:
            pairs = zip(parts, (a, b), strict=True)
            freedom = sum(parts) ** 2 / sum(part**2 / (len(of) - 1) for part, of in pairs)
            half = _quantile(freedom) * math.sqrt(sum(parts))
        else:
            notes.append("runs of a group are alike, which gives no interval")
    note = "; ".join(notes)
    limits = (middle - half, middle + half)
    return Difference(fmean(a), fmean(b), middle, *limits, len(a) + len(b), False, note)


def _quantile(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, _TAIL))


# --- of runs -----------------------------------------------------------------------------------


def results_of(feeds: Sequence[RunFeed]) -> list[str]:
    """Names that tell a result: validation, train loss, text, entropy, the rest."""
    names = dict.fromkeys(name for feed in feeds for name in feed.columns.values)
    return sorted((name for name in names if not name.startswith(_NO_RESULT)), key=_rank)


def _rank(name: str) -> int:
    base = base_of(name)
    ranked = (place for place, starts in enumerate(_ORDER) if base.startswith(starts))
    return next(ranked, len(_ORDER))


def measures_of(feeds: Sequence[RunFeed]) -> list[Measure]:
    """What runs are compared by, in the order of their rows."""
    found, twins = list[Measure](), twins_of(feeds)
    for name in results_of(feeds):
        if name in twins:
            continue
        found.append((name, "end"))
        if base_of(name) in _AT_COLLAPSE:
            found.append((name, "collapse"))
        if base_of(name) in _LOWEST:
            found.append((name, "lowest"))
    return found


def value_of(feed: RunFeed, measure: Measure) -> float:
    """The number of a run; NaN where it has none."""
    name, at = measure
    if at == "end":
        return feed.columns.last(name)
    if at == "lowest":
        return feed.columns.lowest(name)
    collapse = feed.verdict.collapse_update
    return math.nan if collapse is None else feed.columns.at_or_after(name, collapse)


def compare(a: Sequence[RunFeed], b: Sequence[RunFeed]) -> list[dict[str, Any]]:
    """Every measure of two groups of runs, the time to collapse first."""
    rows = [_times(a, b)]
    on_what = [[measured(feed) for feed in feeds] for feeds in (a, b)]
    for name, at in measures_of([*a, *b]):
        values = ([(_seed(f), value_of(f, (name, at))) for f in feeds] for feeds in (a, b))
        row = difference_of(*values).row()
        if other := other_measure(name, *on_what):
            note = "; ".join(filter(None, [other, row["note"]]))
            row |= {"lower": None, "upper": None, "note": note}
        rows.append({"name": name, "at": at, **row})
    return rows


def _times(a: Sequence[RunFeed], b: Sequence[RunFeed]) -> dict[str, Any]:
    """Times to collapse; where a run has none, a mean would be that of those that were quick."""
    values = [
        [(_seed(f), math.nan if t is None else float(t)) for f in feeds for t in [_time(f)]]
        for feeds in (a, b)
    ]
    found = difference_of(*values)
    without = sum(math.isnan(value) for of in values for _, value in of)
    row = {"name": COLLAPSE_UPDATE, "at": "collapse", **found.row()}
    if without:
        runs = len(a) + len(b)
        nothing = dict.fromkeys(("a", "b", "difference", "lower", "upper"))
        note = f"no time to collapse in {without} of {runs} runs: survival curves compare them"
        row |= {**nothing, "n": 0, "paired": False, "note": note}
    return row


def _time(feed: RunFeed) -> int | None:
    """The collapse update, None for a run that was degenerate before training."""
    return None if feed.verdict.from_the_start else feed.verdict.collapse_update


def _seed(feed: RunFeed) -> int:
    return int(feed.manifest["seed"])


def compare_all(groups: Mapping[str, Sequence[RunFeed]]) -> Iterator[dict[str, Any]]:
    """Every pair of groups, up to `MOST_PAIRS` of them."""
    for place, (a, b) in enumerate(combinations(groups, 2)):
        if place == MOST_PAIRS:
            return
        note, rows = shared_note(compare(groups[a], groups[b]))
        yield {"a": a, "b": b, "note": note, "rows": rows}


def shared_note(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Why no row has an interval, where that is one reason, and the rows without that note."""
    told = [row["note"].split("; ") for row in rows if row["difference"] is not None]
    for few in _FEW:
        if told and all(few in parts for parts in told):
            return few, [{**row, "note": _without(row["note"], few)} for row in rows]
    return "", [dict(row) for row in rows]


def _without(note: str, part: str) -> str:
    return "; ".join(one for one in note.split("; ") if one != part)


def told_row(row: Mapping[str, Any], names: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of a comparison in words."""
    interval = "–"
    if row["lower"] is not None:
        interval = f"{told_number(row['lower'])} to {told_number(row['upper'])}"
    unit = ("pair" if row["paired"] else "run") + ("s" if row["n"] != 1 else "")
    count = f"{row['n']} {unit}" if row["n"] else "–"
    at = {"end": "at the end", "collapse": "at the collapse", "lowest": "lowest"}[row["at"]]
    title = names[row["name"]]["title"]
    named = title if row["name"] == COLLAPSE_UPDATE else f"{title}, {at}"
    values = (told_number(row["a"]), told_number(row["b"]), told_number(row["difference"]))
    return (named, *values, interval, count, row["note"])
