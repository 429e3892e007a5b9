"""What a reproduction leaves behind: figures, tables, Table 1 and the claims.

Reads finished runs only. Equal runs give equal files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.analysis.claims.judge import judge_claims, main_runs
from collapse_lm.analysis.claims.scope import judged_on
from collapse_lm.analysis.claims.verdicts import Claim
from collapse_lm.analysis.levels import LEARNING_RATE, PHASE, SIZE, Groups
from collapse_lm.analysis.outcomes import LeftOut, Measured, at_risk, common_folder, measure_runs
from collapse_lm.analysis.tables import runs_table, survival_table, updates_table
from collapse_lm.errors import UserError
from collapse_lm.report.arms_figure import dose_figure
from collapse_lm.report.claims_page import write_claims
from collapse_lm.report.curve_figures import figure_2, figure_4
from collapse_lm.report.gallery import Draw, write_figures
from collapse_lm.report.onset_figures import figure_3, survival_figure
from collapse_lm.report.phase_figure import phase_figure
from collapse_lm.report.style import NotDrawnError
from collapse_lm.report.table1 import choose_run, table1_markdown, table1_text
from collapse_lm.rundir import RunReader

_FIGURES: tuple[tuple[str, str, Callable[[Sequence[Measured], Path], str]], ...] = (
    ("figure2", LEARNING_RATE, figure_2),
    ("figure3", SIZE, figure_3),
    ("figure4", LEARNING_RATE, figure_4),
    ("survival", LEARNING_RATE, survival_figure),
    ("dose", LEARNING_RATE, dose_figure),
    ("phase", PHASE, phase_figure),
)
_OF_LOSSES = ("figure2", "figure4", "dose")
_KEYS = {LEARNING_RATE: "training.learning_rate", SIZE: "model"}


@dataclass(frozen=True)
class ReproductionReport:
    """What was written: the claims, what they were judged on, and why a figure is not there."""

    claims: tuple[Claim, ...]
    judged_on: str
    not_drawn: Mapping[str, str]


def write_reproduction(
    groups: Mapping[str, Sequence[RunReader]],
    out: Path,
    planned: Mapping[str, int] | None = None,
) -> ReproductionReport:
    """Analyse finished runs and write all results into a folder.

    figures/ (each as .svg, .pdf and .png, with captions.md, which also says what is not
    drawn and why), tables/ (runs.csv, updates.csv, survival.csv), table1.txt, table1.md,
    claims.json, claims.md. Files of an earlier call are replaced.

    Args:
        groups: "learning rate", "size" and "phase" -> run directories; any may be missing.
        out: made where it does not exist.
        planned: group -> number of runs that it shall have, where that is known; claims
            are undecided until all have ended.

    Raises:
        UserError: for a group of another name.
        MachineError: where the disk does not take a file.
    """
    unknown = sorted(set(groups) - {LEARNING_RATE, SIZE, PHASE})
    if unknown:
        raise UserError.single("groups", unknown, f'"{LEARNING_RATE}", "{SIZE}" or "{PHASE}"')
    found, left_out = _measure(groups)
    with writing(out):
        (out / "tables").mkdir(parents=True, exist_ok=True)
    _write_tables(found, left_out, out / "tables")
    timed, never = _at_risk(found)
    not_drawn = write_figures(_figures(found, timed, out / "figures"), out / "figures")
    _write_table1(timed, out)
    wanted = {group: len(readers) for group, readers in groups.items()} | dict(planned or {})
    claims = judge_claims(timed, {g: n - len(found.get(g, ())) for g, n in wanted.items()})
    without = [run for runs in (*left_out.values(), never) for run in runs]
    words = judged_on([run for runs in found.values() for run in runs])
    write_claims(claims, list(dict.fromkeys(without)), out, words)
    return ReproductionReport(tuple(claims), words, not_drawn)


def _measure(
    groups: Mapping[str, Sequence[RunReader]],
) -> tuple[dict[str, list[Measured]], dict[str, list[LeftOut]]]:
    root = common_folder([reader for readers in groups.values() for reader in readers])
    both = {group: measure_runs(groups[group], root) for group in sorted(groups)}
    found = {group: measured for group, (measured, _) in both.items()}
    return found, {group: left for group, (_, left) in both.items()}


def _at_risk(groups: Groups) -> tuple[dict[str, list[Measured]], list[LeftOut]]:
    both = {group: at_risk(runs) for group, runs in groups.items()}
    timed = {group: runs for group, (runs, _) in both.items() if groups[group]}
    return timed, [run for _, never in both.values() for run in never]


def _write_tables(groups: Groups, left_out: Mapping[str, Sequence[LeftOut]], folder: Path) -> None:
    keys = [key for group, key in _KEYS.items() if group in groups]
    write_atomically(folder / "runs.csv", runs_table(groups, left_out, keys))
    write_atomically(folder / "updates.csv", updates_table(groups, keys))
    write_atomically(folder / "survival.csv", survival_table(_at_risk(groups)[0]))


def _figures(groups: Groups, timed: Groups, folder: Path) -> dict[str, Draw]:
    """The figures of the groups that there are; the phase diagram only where it is asked for.

    Losses are of all runs, times of those that have one (`timed`).
    """
    return {
        name: partial(_draw, draw, group, (groups if name in _OF_LOSSES else timed), folder)
        for name, group, draw in _FIGURES
        if group != PHASE or group in groups
    }


def _draw(
    draw: Callable[[Sequence[Measured], Path], str], group: str, groups: Groups, folder: Path
) -> str:
    if group not in groups or not groups[group]:
        lacks = "has a time to collapse" if group in groups else "has ended"
        raise NotDrawnError(f"no run of the group {group} {lacks}")
    return draw(groups[group], folder)


def _write_table1(groups: Groups, out: Path) -> None:
    run = choose_run(main_runs(groups)[1])
    without = "No run has ended, so there is no table.\n"
    write_atomically(out / "table1.txt", table1_text(run) if run else without)
    write_atomically(out / "table1.md", table1_markdown(run) if run else without)
