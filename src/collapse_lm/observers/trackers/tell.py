"""What a tracker is told: earlier rows that it lacks, each update, the collapse, the end.

Runs in the tracker's thread. Reads the record on disk, writes nothing, knows no tracker.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm.config.sections import CollapseRule
from collapse_lm.experiment.batch import Record, Text
from collapse_lm.measures.names import Row
from collapse_lm.measures.rule import Watch
from collapse_lm.observers.trackers.base import TrackedRun, TrackedText, Tracker
from collapse_lm.rundir.layout import FIGURES
from collapse_lm.rundir.reader import RunReader
from collapse_lm.rundir.rows import SampleRow

MOST_TEXTS = 10_000  # rows of the table that a tracker gets at the end
_PAGES = ("report.html", "samples.md")
_PICTURES = (".png", ".svg", ".pdf")


class Teller:
    """Tells one tracker of one run.

    Args:
        run: what is known of it from the start.
        rule: its collapse rule, whose verdict is an alert.
    """

    def __init__(self, run: TrackedRun, rule: CollapseRule) -> None:
        self._run, self._reader, self._watch = run, RunReader(run.directory), Watch(rule)
        self._tracker: Tracker | None = None

    def open(self, tracker: Tracker) -> None:
        """Begin the run in the tracker, and tell it what earlier processes recorded."""
        self._tracker, run = tracker, self._run
        has_earlier = tracker.open(run)
        if not run.update:
            return
        rows = [row for row in self._reader.updates() if row.update <= run.update]
        for row in rows:
            if row.update:
                self._watch.see(row)
        if not has_earlier:
            texts = {one.update: list(texts_of([one])) for one in self._reader.samples()}
            for row in rows:
                self._tell(tracker, row, texts.get(row.update, ()))

    def update(self, row: Row, texts: Sequence[TrackedText]) -> None:
        """Tell of an update, and of the collapse once the rule is met."""
        assert self._tracker is not None
        self._tell(self._tracker, row, texts)
        if row.update and not self._watch.verdict.collapsed:
            verdict = self._watch.see(row)
            if verdict.collapsed:
                reasons = ", ".join(verdict.reasons)
                title = f"collapse at update {verdict.collapse_update}"
                self._tracker.alert(title, f"{self._run.name}: {reasons}")

    def end(self, summary: Mapping[str, Any]) -> None:
        """Tell how the run ended, with its texts, figures and pages."""
        assert self._tracker is not None
        if summary.get("status") in ("diverged", "failed"):
            self._tracker.alert(
                f"run {summary['status']}", f"{self._run.name}: {summary['reason']}"
            )
        texts = list(texts_of(self._reader.samples()))
        self._tracker.end(summary, spread(texts, MOST_TEXTS), files_of(self._run.directory))
        self.close()

    def close(self) -> None:
        """Let the tracker write what is left."""
        if self._tracker is not None:
            self._tracker.close()

    @staticmethod
    def _tell(tracker: Tracker, row: Row, texts: Sequence[TrackedText]) -> None:
        tracker.row(row)
        if texts:
            tracker.texts(texts)


def texts_in(record: Record) -> list[TrackedText]:
    """The texts of an update, without what is known of each token: an update may wait long."""
    drawn_apart = record.probe.texts if record.has_own_probe else ()
    return list(texts_of([SampleRow(record.update, record.batch.texts, drawn_apart)]))


def texts_of(rows: Sequence[SampleRow]) -> Iterator[TrackedText]:
    """The texts of updates as rows of one table."""
    for row in rows:
        for role, texts in (("trained on", row.texts), ("probe", row.probe)):
            yield from (_tracked(row.update, role, text) for text in texts)


def _tracked(update: int, role: str, text: Text) -> TrackedText:
    return TrackedText(update, role, text.origin, text.prompt_text, text.text)


def spread(texts: Sequence[TrackedText], most: int) -> list[TrackedText]:
    """At most so many texts, evenly over all, the first and the last among them."""
    if len(texts) <= most:
        return list(texts)
    step = (len(texts) - 1) / (most - 1)
    return [texts[round(place * step)] for place in range(most)]


def files_of(directory: Path) -> list[Path]:
    """The figures and pages of a run, as far as there are any."""
    figures = sorted((directory / FIGURES).glob("*"))
    found = [path for path in figures if path.suffix in _PICTURES]
    found += [directory / name for name in _PAGES]
    return [path for path in found if path.is_file()]
