"""What a reproduction or a sweep leaves behind: figures, tables, Table 1 and the claims.

Reads finished runs only. Equal runs give equal files.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.analysis.claims.judge import judge_claims, main_runs
from collapse_lm.analysis.claims.verdicts import Claim
from collapse_lm.analysis.levels import LEARNING_RATE, PHASE, SIZE, Groups
from collapse_lm.analysis.outcomes import LeftOut, Measured, common_folder, measure_runs
from collapse_lm.analysis.tables import runs_table, survival_table, updates_table
from collapse_lm.errors import UserError
from collapse_lm.report.claims_page import claims_markdown
from collapse_lm.report.curve_figures import figure_2, figure_4
from collapse_lm.report.onset_figures import figure_3, survival_figure
from collapse_lm.report.phase_figure import phase_figure
from collapse_lm.report.table1 import choose_run, table1_markdown, table1_text
from collapse_lm.rundir import RunReader

_FIGURES = (
    ("figure2", LEARNING_RATE, figure_2),
    ("figure3", SIZE, figure_3),
    ("figure4", LEARNING_RATE, figure_4),
    ("survival", LEARNING_RATE, survival_figure),
    ("phase", PHASE, phase_figure),
)

_OTHER = "sweep"  # runs that differ in something that no figure of ours shows


def write_sweep(group: str | None, runs: Sequence[RunReader], out: Path, planned: int) -> None:
    """Write what finished runs of a sweep show.

    Args:
        group: "learning rate", "size" or "phase", whose runs give what
            `write_reproduction` writes; None gives tables of the runs and their updates.
        runs: run directories.
        out: made where it does not exist.
        planned: number of runs of the sweep.

    Raises:
        MachineError: where the disk does not take a file.
    """
    if group is not None:
        write_reproduction({group: runs}, out, {group: planned})
        return
    found, left_out = _measure({_OTHER: runs})
    with writing(out):
        (out / "tables").mkdir(parents=True, exist_ok=True)
    write_atomically(out / "tables" / "runs.csv", runs_table(found, left_out))
    write_atomically(out / "tables" / "updates.csv", updates_table(found))


def write_reproduction(
    groups: Mapping[str, Sequence[RunReader]],
    out: Path,
    planned: Mapping[str, int] | None = None,
) -> list[Claim]:
    """Analyse finished runs and write all results into a folder.

    figures/ (each as .svg, .pdf and .png, with captions.md), tables/ (runs.csv,
    updates.csv, survival.csv), table1.txt, table1.md, claims.json, claims.md. A figure
    whose runs are missing is not drawn; files of an earlier call are replaced.

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
        (out / "figures").mkdir(exist_ok=True)
    _write_tables(found, left_out, out / "tables")
    _write_figures(found, out / "figures")
    _write_table1(found, out)
    wanted = {group: len(readers) for group, readers in groups.items()} | dict(planned or {})
    claims = judge_claims(found, {g: n - len(found.get(g, ())) for g, n in wanted.items()})
    rows = [claim.row() for claim in claims]
    write_atomically(out / "claims.json", json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    without = [run for runs in left_out.values() for run in runs]
    write_atomically(out / "claims.md", claims_markdown(claims, list(dict.fromkeys(without))))
    return claims


def _measure(
    groups: Mapping[str, Sequence[RunReader]],
) -> tuple[dict[str, list[Measured]], dict[str, list[LeftOut]]]:
    root = common_folder([reader for readers in groups.values() for reader in readers])
    both = {group: measure_runs(groups[group], root) for group in sorted(groups)}
    found = {group: measured for group, (measured, _) in both.items()}
    return found, {group: left for group, (_, left) in both.items()}


def _write_tables(groups: Groups, left_out: Mapping[str, Sequence[LeftOut]], folder: Path) -> None:
    write_atomically(folder / "runs.csv", runs_table(groups, left_out))
    write_atomically(folder / "updates.csv", updates_table(groups))
    write_atomically(folder / "survival.csv", survival_table(groups))


def _write_figures(groups: Groups, folder: Path) -> None:
    parts = ["# Figures"]
    for name, group, draw in _FIGURES:
        caption = draw(groups[group], folder) if groups.get(group) else ""
        if caption:
            parts.append(f"## {name}\n\n{caption}")
        else:
            _remove(folder, name)
    write_atomically(folder / "captions.md", "\n\n".join(parts) + "\n")


def _remove(folder: Path, name: str) -> None:
    """Leave no figure of an earlier call beside captions that do not know it."""
    for suffix in ("svg", "pdf", "png"):
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def _write_table1(groups: Groups, out: Path) -> None:
    run = choose_run(main_runs(groups)[1])
    without = "No run has ended, so there is no table.\n"
    write_atomically(out / "table1.txt", table1_text(run) if run else without)
    write_atomically(out / "table1.md", table1_markdown(run) if run else without)
