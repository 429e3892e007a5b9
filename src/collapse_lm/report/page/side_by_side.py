"""Two folders of runs, each taken as one group, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_lm.errors import UserError
from collapse_lm.report.page.compare import compare, shared_note
from collapse_lm.report.page.facts import word
from collapse_lm.report.page.feed import RunFeed
from collapse_lm.report.page.find import no_runs, read_runs
from collapse_lm.report.page.groups import groups_of, value_of, varied_keys
from collapse_lm.report.page.names import told_names, with_collapse
from collapse_lm.report.page.verdict import sentence

_MOST_KEYS = 8  # that are told


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        path: as it was given.
        runs: that could be read.
        left_out: those that could not, with the reason.
    """

    path: Path
    runs: tuple[RunFeed, ...]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """Two groups of runs, measure by measure.

    Attributes:
        a, b: the sides.
        rows: as in a page.
        note: what holds for all rows; may be empty.
        names: what their names mean.
    """

    a: Side
    b: Side
    rows: Sequence[dict[str, Any]]
    note: str
    names: dict[str, Any]

    def lines(self) -> Iterator[str]:
        """What the two are, and what they differ in."""
        for name, side in (("A", self.a), ("B", self.b)):
            runs = side.runs
            told = sentence(runs[0]) if len(runs) == 1 else _several(runs)
            yield f"{name}  {side.path}: {told}"
            for run, reason in side.left_out.items():
                yield f"   left out: {run}: {reason}"
        for key, a, b in self.differing():
            yield f"{key}: {a} in A, {b} in B"
        if self.note:
            yield f"{self.note[:1].upper()}{self.note[1:]}."

    def differing(self) -> list[tuple[str, str, str]]:
        """(key, its values in A, in B) of the first keys in which the two differ."""
        keys = varied_keys([*self.a.runs, *self.b.runs])
        told = [(key, _values(self.a.runs, key), _values(self.b.runs, key)) for key in keys]
        return [one for one in told if one[1] != one[2]][:_MOST_KEYS]

    def content(self) -> dict[str, Any]:
        """The same for programs."""
        sides = {
            name: {"path": str(side.path), "runs": len(side.runs), "left_out": side.left_out}
            for name, side in (("a", self.a), ("b", self.b))
        }
        return {**sides, "differing": self.differing(), "note": self.note, "rows": list(self.rows)}


def compare_folders(a: Path, b: Path) -> Comparison:
    """Compare all runs below one folder with all below another.

    Raises:
        UserError: for a path that is not there, or holds no run that can be read.
    """
    first, second = _side(a), _side(b)
    note, rows = shared_note(compare(first.runs, second.runs))
    names = with_collapse(told_names(dict.fromkeys(row["name"] for row in rows)))
    return Comparison(first, second, rows, note, names)


def _side(path: Path) -> Side:
    runs, left_out = read_runs([path])
    if not runs and left_out:
        name, reason = next(iter(left_out.items()))
        fix = "`collapse-lm ls DIR` lists the runs in a folder"
        raise UserError.single(str(name), reason, "a run that can be read", fix)
    if not runs:
        raise no_runs([path])
    return Side(path, tuple(runs), {str(place): reason for place, reason in left_out.items()})


def _several(runs: Sequence[RunFeed]) -> str:
    collapsed = sum(feed.verdict.collapsed for feed in runs)
    kinds = len(groups_of(runs))
    pooled = f", of {kinds} configurations, which are pooled" if kinds > 1 else ""
    return f"{len(runs)} runs{pooled}; {collapsed} collapsed"


def _values(runs: Sequence[RunFeed], key: str) -> str:
    return ", ".join(dict.fromkeys(word(value_of(feed, key)) for feed in runs))
