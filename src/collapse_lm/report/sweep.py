"""What a sweep leaves behind: tables, figures and effects of whatever keys its runs differ in.

Reads finished runs only. Equal runs give equal files.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.analysis.claims.judge import judge_claims
from collapse_lm.analysis.claims.scope import why_not_judged
from collapse_lm.analysis.claims.verdicts import Claim
from collapse_lm.analysis.effects import Effect, effects_of
from collapse_lm.analysis.outcomes import LeftOut, Measured, at_risk, measure_runs, spacing
from collapse_lm.analysis.settings import deciding, levels_of
from collapse_lm.analysis.tables import runs_table, survival_of_levels, updates_table
from collapse_lm.report.claims_page import write_claims
from collapse_lm.report.effects_page import effects_markdown
from collapse_lm.report.gallery import write_figures
from collapse_lm.report.law_page import write_laws
from collapse_lm.report.style import WIDTH
from collapse_lm.report.sweep_figures import sweep_figures
from collapse_lm.rundir import RunReader

_OF_A_REPRODUCTION = ("claims.json", "claims.md", "table1.txt", "table1.md")
_GROUP = "sweep"  # in the column `group` of tables


@dataclass(frozen=True)
class SweepReport:
    """What was written.

    Attributes:
        effects: of each key that finished runs differ in.
        claims: the paper's sentences; empty where the runs are no test of them.
        unjudged: why they are not, or empty.
        not_drawn: by figure, why it is not there.
    """

    effects: tuple[Effect, ...]
    claims: tuple[Claim, ...]
    unjudged: str
    not_drawn: Mapping[str, str]


def write_sweep(
    keys: Sequence[str],
    group: str | None,
    runs: Sequence[RunReader],
    out: Path,
    planned: int,
) -> SweepReport:
    """Write what finished runs of a sweep show.

    tables/ (runs.csv, updates.csv, survival.csv, with a column per key), figures/ (with
    captions.md, which also says what is not drawn and why), effects.json, effects.md; law.json,
    law.md where an arm has several learning rates or batch sizes; and claims.json, claims.md
    where the runs have what the paper's sentences speak of.

    Args:
        keys: dotted, that the sweep was over.
        group: "learning rate", "size" or "phase" where the runs vary that.
        runs: run directories.
        out: made where it does not exist.
        planned: number of runs of the sweep.

    Raises:
        MachineError: where the disk does not take a file.
    """
    found, left_out = measure_runs(runs)
    timed, never = at_risk(found)
    with writing(out):
        (out / "tables").mkdir(parents=True, exist_ok=True)
    _write_tables(keys, group or _GROUP, found, left_out, out / "tables")
    keys = deciding(keys)  # arms that differ in how long they ran are one
    figures = sweep_figures(keys, group, found, timed)
    drawn = {n: partial(f.draw, out / "figures", n, WIDTH) for n, f in figures.items()}
    not_drawn = write_figures(drawn, out / "figures")
    effects, missing = effects_of(keys, timed), planned - len(found)
    left_out += never
    rows = [effect.row() for effect in effects]
    text = json.dumps(rows, indent=2, ensure_ascii=False)
    write_atomically(out / "effects.json", f"{text}\n")
    unjudged, claims = why_not_judged(group, found), list[Claim]()
    if not unjudged and group is not None:
        claims = judge_claims({group: timed}, {group: missing})
        write_claims(claims, left_out, out)
    page = effects_markdown(
        effects, left_out, missing=missing, unjudged=unjudged, apart=spacing(timed)
    )
    write_atomically(out / "effects.md", page)
    write_laws(keys, timed, out)
    _remove_others(out, claims)
    return SweepReport(tuple(effects), tuple(claims), unjudged, not_drawn)


def _write_tables(
    keys: Sequence[str],
    group: str,
    found: Sequence[Measured],
    left_out: Sequence[LeftOut],
    folder: Path,
) -> None:
    write_atomically(folder / "runs.csv", runs_table({group: found}, {group: left_out}, keys))
    write_atomically(folder / "updates.csv", updates_table({group: found}, keys))
    levels = levels_of(keys, at_risk(found)[0])
    write_atomically(folder / "survival.csv", survival_of_levels(group, keys, levels))


def _remove_others(out: Path, claims: Sequence[Claim]) -> None:
    """Leave nothing of an earlier release, which judged and showed more sweeps than it should."""
    kept = _OF_A_REPRODUCTION[:2] if claims else ()
    with writing(out):
        for name in _OF_A_REPRODUCTION:
            if name not in kept:
                (out / name).unlink(missing_ok=True)
