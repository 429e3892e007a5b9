"""The claims as a page: a table to read, and below it what each verdict rests on."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm._util.files import write_atomically
from collapse_lm._util.printable import printable
from collapse_lm.analysis.claims.verdicts import Claim, Effect
from collapse_lm.analysis.law import Exponent
from collapse_lm.analysis.outcomes import LeftOut
from collapse_lm.analysis.stats.time_ratio import TimeRatio
from collapse_lm.report.samples import as_code

_HEAD = (
    "| claim | verdict | effect (95 % interval) | p | runs (group) |\n"
    "| --- | --- | --- | --- | --- |"
)


def write_claims(
    claims: Sequence[Claim], left_out: Sequence[LeftOut], out: Path, judged_on: str = ""
) -> None:
    """Write claims.json and claims.md.

    Raises:
        MachineError: where the disk does not take a file.
    """
    rows = [claim.row() for claim in claims]
    write_atomically(out / "claims.json", json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    write_atomically(out / "claims.md", claims_markdown(claims, left_out, judged_on))


def claims_markdown(
    claims: Sequence[Claim], left_out: Sequence[LeftOut] = (), judged_on: str = ""
) -> str:
    """Return claims.md, with the models and texts that were judged on first.

    Runs without an outcome are listed at its end.
    """
    rows = [_row(claim) for claim in claims]
    sections = [_section(claim) for claim in claims]
    sections += left_out_section(left_out)
    head = ["# Claims of the paper", *([f"{cell(judged_on)}."] if judged_on else [])]
    return "\n\n".join([*head, "\n".join([_HEAD, *rows]), *sections]) + "\n"


def left_out_section(left_out: Sequence[LeftOut]) -> list[str]:
    """A section on runs without an outcome; none where there are none."""
    lines = [f"- {as_code(run.run)}: {cell(run.reason)}" for run in left_out]
    return ["\n".join(["## Runs left out", "", *lines])] if lines else []


def _row(claim: Claim) -> str:
    found = claim.finding
    cells = (
        f"{cell(claim.statement.sentence)} (section {claim.statement.section}; `{claim.id}`)",
        f"**{claim.verdict}**",
        _effect(found.effect),
        "" if math.isnan(found.p_value) else f"{found.p_value:.3g}",
        f"{found.runs} ({found.group})" if found.group else str(found.runs),
    )
    return f"| {' | '.join(cells)} |"


def _section(claim: Claim) -> str:
    stated, found = claim.statement, claim.finding
    levels = "; ".join(
        f"{name}: {level['collapses']} of {level['runs']} runs collapsed, median "
        f"{'not reached' if level['median'] is None else format(level['median'], 'g')}"
        for name, level in found.levels.items()
    )
    lines = [
        f"## {claim.id}: {claim.verdict}",
        f"- Found: {cell(found.reason)}",
        f"- Would support it: {stated.supports}",
        f"- Test: {stated.test}",
        f"- Rule: {stated.rule}",
        f"- Limits: {claim.limits}",
    ]
    if "time_ratio_highest_to_lowest" in found.details:
        ratio = ratio_words(TimeRatio(**found.details["time_ratio_highest_to_lowest"]))
        lines.append(f"- Time to collapse at the highest, of that at the lowest: {ratio}")
    if "exponent_in_the_rate" in found.details:
        lines += _law_lines(found.details)
    if found.verdict != "not tested":
        lines.append(f"- This design could have been: {', '.join(found.reachable)}")
    if "unit" in found.details:
        lines.append("- Unit: {unit} ({units} of them)".format(**found.details))
    if levels:
        lines.append(f"- Runs (group {found.group}): {cell(levels)}")
    if found.effect and found.effect.note:
        lines.append(f"- Note: {found.effect.note}")
    return "\n".join([lines[0], "", *lines[1:]])


def _law_lines(details: Mapping[str, Any]) -> list[str]:
    """The exponent of the time in the rate, and the dose at the collapse, by rate."""
    doses = "; ".join(
        f"{rate}: {'not reached' if dose is None else format(dose, '.3g')}"
        for rate, dose in details["median_dose_at_the_collapse"].items()
    )
    power = exponent_words(Exponent(**details["exponent_in_the_rate"]))
    return [
        f"- Time to collapse ~ rate to the power: {power}",
        f"- Median dose (sum of learning rates) at the collapse: {doses}",
    ]


def exponent_words(found: Exponent) -> str:
    """An exponent with its interval, or the bound that there is, or why there is none."""
    if math.isnan(found.value):
        return f"not known ({found.note})"
    value = f"{found.bound} {found.value:.3g}".strip()
    if math.isnan(found.lower):
        return f"{value} ({found.note})"
    return f"{value} ({found.lower:.3g} to {found.upper:.3g})"


def ratio_words(found: TimeRatio) -> str:
    """A time ratio with its interval, or the bound that there is, or why there is none."""
    if math.isnan(found.value):
        return f"not compared ({found.note})"
    value = f"{found.bound} {found.value:.3g}".strip()
    if found.bound:
        return f"x {value}"
    if math.isnan(found.lower):
        return f"x {value} ({found.note})"
    return f"x {value} ({found.lower:.3g} to {found.upper:.3g})"


def _effect(effect: Effect | None) -> str:
    if effect is None:
        return ""
    if effect.value == math.inf:
        return f"{effect.name}: above {_number(effect.lower)} (no estimate)"
    if effect.value == 0 and effect.name.startswith("hazard"):
        return f"{effect.name}: below {_number(effect.upper)} (no estimate)"
    value, lower, upper = map(_number, (effect.value, effect.lower, effect.upper))
    return f"{effect.name}: {value} ({lower} to {upper})"


def _number(value: float) -> str:
    if math.isnan(value):
        return "undefined"
    return "no limit" if math.isinf(value) else f"{value:.3g}"


def cell(text: str) -> str:
    r"""Keep a text inside its cell, and what a stranger named from being read as markup."""
    shown = printable(text)
    for character in "\\|`<>[]*":
        shown = shown.replace(character, f"\\{character}")
    return shown
