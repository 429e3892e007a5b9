"""Read kept tables back into the objects that the analysis of run directories works on."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from collapse_lm.analysis.kept.cells import config_of, value_of
from collapse_lm.analysis.kept.write import (
    ABOUT,
    DOSE,
    RUNS,
    STAGES,
    STAY,
    TOTALS,
    UPDATES,
    steady_dose,
)
from collapse_lm.analysis.outcomes import Measured, Outcome
from collapse_lm.measures.endings import STATES, Profile
from collapse_lm.measures.names import Row
from collapse_lm.rundir import RunReader

Cells = Mapping[str, Any]
_LISTS = ("criteria", "corpora")
_STAYS = {f"{state}_{name}" for state in STATES for name in STAY}
_FIELDS = {field.name: str(field.type) for field in fields(Outcome)}


@dataclass(frozen=True)
class Kept:
    """A result as it is kept.

    Attributes:
        name: of its folder.
        about: what about.json holds.
        runs: in the order of runs.csv. Their rows are those that were kept, and their readers
            lead nowhere.
        totals: of each run, the steps that were applied and the tokens of their batches.
    """

    name: str
    about: Mapping[str, Any]
    runs: tuple[Measured, ...]
    totals: tuple[Mapping[str, float], ...]

    @property
    def keys(self) -> list[str]:
        """The dotted keys that the runs were swept over."""
        return list(self.about["keys"])


def read_kept(folder: Path) -> Kept:
    """Read runs.csv, updates.csv and about.json of a folder that `write_kept` wrote."""
    about = json.loads((folder / ABOUT).read_text("utf-8"))
    rows: dict[int, list[Row]] = {}
    for cells in _cells(folder / UPDATES):
        values = {name: value for name, value in cells.items() if name not in ("number", "update")}
        rows.setdefault(cells["number"], []).append(Row(cells["update"], values))
    table = list(_cells(folder / RUNS))
    runs = [_measured(cells, rows[cells["number"]], about["config"], folder) for cells in table]
    totals = tuple({name: cells.get(name, math.nan) for name in TOTALS} for cells in table)
    return Kept(folder.name, about, tuple(runs), totals)


def _cells(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, without their empty cells."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: value_of(text) for name, text in row.items() if text}


def _measured(cells: Cells, rows: list[Row], shared: Cells, folder: Path) -> Measured:
    outcome = _outcome(cells)
    own = {name: value for name, value in cells.items() if _is_setting(name)}
    config = config_of({**shared, **own, "seed": outcome.seed})
    reader = RunReader(folder / outcome.run)
    run = Measured(outcome, rows, reader, config, _profile(cells))
    return run if any(DOSE in row.values for row in rows) else _with_dose(run)


def _with_dose(run: Measured) -> Measured:
    """The run with the dose of each row, which was left out as it can be told."""
    doses = ({DOSE: steady_dose(run, row.update)} if row.update else {} for row in run.rows)
    rows = [
        Row(row.update, {**row.values, **dose}) for row, dose in zip(run.rows, doses, strict=True)
    ]
    return replace(run, rows=rows)


def _is_setting(column: str) -> bool:
    """True for a key of the configuration: any column that is not one of the record's."""
    ours = {"number", *_FIELDS, *_STAYS, *TOTALS}
    return column == "model" or not (column in ours or column.startswith("validation_"))


def _outcome(cells: Cells) -> Outcome:
    values: dict[str, Any] = {name: cells.get(name) for name in _FIELDS if name != "validation"}
    values |= {name: tuple(cells[name]) for name in _LISTS}
    values |= {name: str(values[name]) for name in ("run", "model", "label", "status")}
    values |= {n: float(v) for n, v in values.items() if _FIELDS[n] == "<class 'float'>"}
    values["validation"] = {
        corpus: tuple(float(cells[f"validation_{corpus}_{stage}"]) for stage in STAGES)
        for corpus in values["corpora"]
    }
    return Outcome(**values)


def _profile(cells: Cells) -> Profile:
    return {state: {name: cells.get(f"{state}_{name}") for name in STAY} for state in STATES}
