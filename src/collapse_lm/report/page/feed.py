"""One run directory, read as far as it goes and again as it grows: what a page needs of it.

Rows become columns and samples become blocks as they are read, so that a page of many long
runs is made run by run. Changes nothing on disk.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from collapse_lm._util.files import require_regular
from collapse_lm.config.identity import flat_values
from collapse_lm.config.load import read_yaml
from collapse_lm.config.sections import CollapseRule
from collapse_lm.config.trees import spelled_out
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Text
from collapse_lm.measures.rule import Verdict, observe, reasons
from collapse_lm.report.page.columns import Columns
from collapse_lm.report.page.names import TWINS
from collapse_lm.report.page.samples import Samples
from collapse_lm.report.page.tail import Tail
from collapse_lm.rundir import RecordError, RunReader, has_writer
from collapse_lm.rundir.layout import CONFIG, SAMPLES, UPDATES
from collapse_lm.rundir.rows import (
    SampleRow,
    has_gaps,
    parse_row,
    parse_sample,
    require_later,
    told_origin,
)
from collapse_lm.rundir.shape import naming
from collapse_lm.rundir.summary import Summing

_UNREADABLE = (RecordError, UserError, OSError)


class RunFeed:
    """A run directory that a page shows.

    Attributes:
        path: of the run.
        manifest: as it was when the run was looked at last.
        values: of its configuration, by dotted key.
        rule: of the collapse.
        columns: its rows.
        samples: its samples.
        base_is_degenerate: what the rule says of the base model's own sample; None if unknown.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows, self._texts = Tail(path / UPDATES), Tail(path / SAMPLES)
        self._start_over()

    def _start_over(self) -> None:
        self._rows.start_over()
        self._texts.start_over()
        self.manifest: Mapping[str, Any] = {}
        self.values: Mapping[str, Any] = {}
        self.rule, self.columns, self.samples = CollapseRule(), Columns(), Samples()
        self.base_is_degenerate: bool | None = None
        self._lines = self._sampled = 0  # of samples that were read, and the update of the last
        self._origins: dict[str, None] = {}
        self._faults: dict[str, str] = {}
        self._summing: Summing | None = None
        self._limit: str | None = None

    def refresh(self) -> bool:
        """Read what is new; True where there was something.

        Raises:
            RecordError, UserError, OSError: for a run of which nothing can be shown.
        """
        reader = RunReader(self.path)
        manifest = reader.manifest()
        if self._summing is None:
            self._read_config()
        has_new = manifest != self.manifest
        self.manifest = manifest
        self.columns.base_at = 0 if has_gaps(manifest) else 1
        rows, texts = self._rows.lines(), self._lines_of_samples()
        if rows is None or texts is None:  # a resume has cut the files
            self._start_over()
            self.refresh()
            return True
        self._take_rows(rows)
        self._take_samples(texts)
        if has_new:
            self._read_limit(reader)
        return bool(has_new or rows or texts)

    def _lines_of_samples(self) -> list[str] | None:
        """New lines; a run without samples is shown without them."""
        try:
            return self._texts.lines()
        except (RecordError, OSError) as error:
            self._blame(SAMPLES, f"{SAMPLES}: {getattr(error, 'strerror', None) or error}")
            return []

    def _read_config(self) -> None:
        require_regular(self.path / CONFIG)
        with naming(CONFIG):
            self.values = flat_values(spelled_out(read_yaml(str(self.path / CONFIG))))
        given = {key: self.values.get(f"collapse.{key}") for key in CollapseRule.model_fields}
        try:
            known = {key: value for key, value in given.items() if value is not None}
            self.rule = CollapseRule.model_validate(known)
        except ValidationError as error:
            raise RecordError(f"{CONFIG}: collapse: {error.errors()[0]['msg']}") from None
        self._summing = Summing(self.rule)

    def _read_limit(self, reader: RunReader) -> None:
        with suppress(*_UNREADABLE):
            self._limit = (reader.summary() or {}).get("limit")

    def _take_rows(self, lines: list[str]) -> None:
        for line in lines if UPDATES not in self._faults else ():
            place = len(self.columns.updates)
            try:
                row = parse_row(f"{UPDATES}, line {place + 1}", line)
                before = self.columns.updates[-1] if place else -1
                self._require_next(f"{UPDATES}, line {place + 1}", row.update, before)
            except RecordError as error:
                self._blame(UPDATES, str(error))
                return
            self.columns.add(row)
            self._sums.take(row)
            seen = observe(row)
            if row.update == self.columns.base_at and seen is not None:
                self.base_is_degenerate = bool(reasons(seen, self.rule))

    def _take_samples(self, lines: list[str]) -> None:
        for line in lines if SAMPLES not in self._faults else ():
            place = self._lines + 1
            try:
                row = parse_sample(f"{SAMPLES}, line {place}", line)
                before = -1 if place == 1 and has_gaps(self.manifest) else self._sampled
                self._require_next(f"{SAMPLES}, line {place}", row.update, before)
            except RecordError as error:
                self._blame(SAMPLES, str(error))
                return
            self._lines, self._sampled = place, row.update
            self.samples.add(row)
            self._origins |= dict.fromkeys(text.origin for text in row.texts)

    def _require_next(self, where: str, update: int, before: int) -> None:
        """Accept the update after the one before, or any later one where some may be missing."""
        if has_gaps(self.manifest):
            require_later(where, update, before)
        elif update != before + 1:
            raise RecordError(f"{where}: update {update}")

    def _blame(self, name: str, fault: str) -> None:
        """Note the first thing that is wrong with a file, which is read no further."""
        self._faults.setdefault(name, fault)

    @property
    def faults(self) -> list[str]:
        """What could not be read, in words."""
        return list(self._faults.values())

    @property
    def origins(self) -> str:
        """Where the texts that the run trained on come from, in words."""
        texts = tuple(Text((), (), origin) for origin in self._origins)
        return told_origin([SampleRow(1, texts)])

    @property
    def _sums(self) -> Summing:
        assert self._summing is not None, "made with the configuration"
        return self._summing

    @property
    def verdict(self) -> Verdict:
        """Of the collapse rule on the rows so far."""
        return self._sums.verdict

    @property
    def status(self) -> str:
        """As written; a run whose process is gone is not running, but killed."""
        written = str(self.manifest["status"])
        return "killed" if written == "running" and not has_writer(self.path) else written

    @property
    def update(self) -> int:
        """The last update."""
        return self.columns.updates[-1] if self.columns.updates else 0

    @property
    def corpora(self) -> list[str]:
        """Validation corpora, in the order of the rows."""
        start = "validation.loss["
        return [n[len(start) : -1] for n in self.columns.values if n.startswith(start)]

    def summary(self) -> dict[str, Any]:
        """What summary.json holds, or would hold now."""
        return self._sums.result(self.status, self._limit)


def twins_of(feeds: Iterable[RunFeed]) -> set[str]:
    """Names that repeat another one in all of some runs."""
    known = list(feeds)
    pairs = TWINS.items()
    return {a for a, b in pairs if all(feed.columns.are_alike(a, b) for feed in known)}


def read_feed(path: Path) -> RunFeed:
    """A run directory, read once.

    Raises:
        RecordError, UserError, OSError: for a run of which nothing can be shown.
    """
    feed = RunFeed(path)
    feed.refresh()
    return feed
