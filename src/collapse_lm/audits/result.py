"""What an audit found, as values and in words. Pure."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collapse_lm.audits.judge import JUDGED, LOOP, MODE, NOISE, SHRINK, Judgement
from collapse_lm.config.sections import CollapseRule
from collapse_lm.measures.endings import MOST_TOKENS
from collapse_lm.measures.names import Number, Row
from collapse_lm.measures.pool import PROBES
from collapse_lm.rundir.frames import frame

_CUT_WORDS = "tokens of the longest texts past the first 65,536 were not looked at"


@dataclass(frozen=True)
class AuditGroup:
    """A group of texts.

    Attributes:
        name: its step, file or value.
        update: its number in the record: the step, where all steps are whole numbers from 1 on,
            else its place.
        states: that it shows, by itself.
        values: its numbers by name (docs/run-format.md).
    """

    name: str
    update: int
    states: tuple[str, ...]
    values: Mapping[str, Number]


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        path: what was audited.
        source: its format, and what was taken for text and group, in words.
        tokenizer: that the texts are counted in.
        groups: in order.
        baseline: what they are compared with, in words; empty with a single group.
        start: the levels of the baseline by name.
        human: the numbers of human text by name.
        human_name: of its corpus; empty without one.
        states: the states that were entered, each with the name of the group that it began with.
        broken_at_start: most texts of the baseline are degenerate.
        findings: the states in words, with numbers.
        notes: what cannot be told, and what else a reader must know.
        broken: places that could not be read.
        broken_named: the first of these, with the reason.
        record: the run directory, where one was asked for.
        report: the page, likewise.
    """

    path: str
    source: str
    tokenizer: str
    groups: tuple[AuditGroup, ...]
    baseline: str
    start: Mapping[str, Number]
    human: Mapping[str, float]
    human_name: str
    states: Mapping[str, str]
    broken_at_start: bool
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    broken: int = 0
    broken_named: tuple[str, ...] = ()
    record: Path | None = None
    report: Path | None = None
    texts: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        count = sum(int(group.values["texts.count"]) for group in self.groups)
        object.__setattr__(self, "texts", count)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it but for numbers that are not finite."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        places = {name: _told(getattr(self, name)) for name in ("record", "report")}
        return {
            **plain,
            "states": dict(self.states),
            "groups": [
                {"group": g.name, "update": g.update, "states": list(g.states), **g.values}
                for g in self.groups
            ],
            "start": dict(self.start),
            "human": dict(self.human),
            **places,
        }

    def to_pandas(self) -> Any:
        """A data frame with a row per group.

        Raises:
            UserError: without pandas.
        """
        return frame(self.to_dict()["groups"])


_PLAIN = (
    *("path", "source", "tokenizer", "texts", "baseline", "human_name", "broken_at_start"),
    *("findings", "notes", "broken", "broken_named"),
)


def _told(path: Path | None) -> str | None:
    return None if path is None else str(path)


@dataclass(frozen=True)
class Told:
    """What the sentences of an audit speak of.

    Attributes:
        names: of the groups, by number.
        rows: of the groups, by number.
        start: levels of the baseline.
        human: numbers of human text.
        rule: thresholds.
        scorer: name of the model that read the texts; empty without one.
    """

    names: Mapping[int, str]
    rows: Mapping[int, Row]
    start: Row
    human: Mapping[str, float]
    rule: CollapseRule
    scorer: str = ""

    @property
    def is_one(self) -> bool:
        """True for a single group without a baseline."""
        return len(self.rows) == 1 and not self.start.values


def findings(judged: Judgement, told: Told) -> Iterator[str]:
    """The states that were entered, with the numbers of the group they began with."""
    for state in judged.found:
        stay = judged.profile[state]
        onset = int(stay["entered"] or 0)
        words = "; ".join(_REASONS[state](told.rows[onset], told))
        if told.is_one:
            yield f"{state}: {words}"
            continue
        left = f", left at {told.names[stay['left']]}" if stay["left"] is not None else ""
        if state == LOOP and judged.broken_at_start:
            yield f"loop, broken at the start: {words}; no training seen here brought it about"
        else:
            yield f"{state} from {told.names[onset]} on{left}: {words}"
    if judged.broken_at_start and LOOP not in judged.found:
        share = told.start.get("base_samples.degenerate_share")
        yield f"broken at the start: {share:.0%} of the baseline's texts are degenerate"


def _loop(row: Row, told: Told) -> Iterator[str]:
    share = row.get("probe.degenerate_share")
    if math.isnan(share):
        loop, repeated = row.get("text.loop_share"), row.get("text.seq_rep_4")
        yield f"{loop:.0%} of its text in one loop, {repeated:.0%} of its 4-grams repeated"
        return
    start, human = told.start.get("base_samples.degenerate_share"), "probe.degenerate_share"
    beside = _beside(start, ".0%", human=told.human.get(human, math.nan))
    yield f"{share:.0%} of its texts are degenerate{beside}"


def _mode(row: Row, told: Told) -> Iterator[str]:
    overlap, level = row.get("pool.overlap"), told.start.get("base_samples.overlap")
    known = level if math.isfinite(level) else 0.0
    if overlap >= known + (1 - known) * told.rule.overlap:
        yield f"{overlap:.0%} of its 4-grams stood in the five groups before{_beside(level, '.0%')}"
    if told.is_one and row.get("texts.equal") >= told.rule.overlap:
        yield f"{row.get('texts.equal'):.0%} of its texts equal another"
    last = [told.rows[number] for number in told.rows if number <= row.update][-PROBES:]
    longest = max(one.get("probe.length") for one in last)
    fixed = 1.0 if longest <= MOST_TOKENS else math.nan  # see `endings.Base`
    for n in (1, 2, 3, 4):
        name, whose = f"pool.distinct_{n}", "human text" if told.is_one else "at the start"
        start = told.start.values.get(f"base_samples.distinct_{n}", fixed if n == 4 else math.nan)
        level = told.human.get(name, math.nan) if told.is_one else float(start)
        if row.get(name) <= told.rule.distinct * level:
            yield f"{row.get(name):.0%} distinct {n}-grams{_beside(level, '.0%', whose)}"


def _noise(row: Row, told: Told) -> Iterator[str]:
    human = told.human.get("score.loss", math.nan)
    beside = _beside(told.start.get("score.loss"), ".2f", human=human)
    yield f"{row.get('score.loss'):.2f} nats/token under {told.scorer}{beside}"


def _shrink(row: Row, told: Told) -> Iterator[str]:
    before = _beside(told.start.get("base_samples.length"), ".1f")
    yield f"{row.get('probe.length'):.1f} tokens a text{before}"


_REASONS = {LOOP: _loop, MODE: _mode, NOISE: _noise, SHRINK: _shrink}


def _beside(value: float, form: str, whose: str = "at the start", human: float = math.nan) -> str:
    """What a number compares with, as far as it is known."""
    pairs = [(whose, value), ("human text", human)]
    told = [f"{name} {level:{form}}" for name, level in pairs if math.isfinite(level)]
    return f" ({', '.join(told)})" if told else ""


def untold(told: Told, cut: int, baseline: str) -> Iterator[str]:
    """What cannot be told, and what else must be known."""
    yield "drift: not to be told from texts; it is of the model"
    if not told.scorer:
        yield "noise: not to be told without a model that reads the texts (--model)"
    if told.is_one:
        yield "shrink: not to be told of one group; and states are judged once, without patience"
    elif not any(name.startswith("base_samples.distinct") for name in told.start.values):
        yield (
            f"mode: too few texts in {baseline} for a level of its own; a fixed one is used, "
            f"where texts have at most {MOST_TOKENS} tokens"
        )
    if not told.human:
        yield "no human text to compare with"
    if cut:
        yield f"{cut:,} texts: {_CUT_WORDS}"


def none_found(told: Told) -> str:
    """Said where no state was entered."""
    looked = [state for state in JUDGED if state != NOISE or told.scorer]
    looked = [state for state in looked if state != SHRINK or not told.is_one]
    return f"none of {', '.join(looked)}"
