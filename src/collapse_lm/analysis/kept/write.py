"""Write the tables of finished runs as a repository keeps them."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from collapse_lm._util.files import write_atomically, writing
from collapse_lm._version import __version__
from collapse_lm.analysis.events import RISE
from collapse_lm.analysis.kept.cells import bare, cell, settings_of
from collapse_lm.analysis.outcomes import LeftOut, Measured, measure_runs
from collapse_lm.errors import UserError
from collapse_lm.measures.names import Row, label
from collapse_lm.rundir import RunReader

RUNS, UPDATES, ABOUT = "runs.csv", "updates.csv", "about.json"
NAMES = (  # of rows, labels aside, that documents and figures use
    *("validation.loss", "validation.change", "train.loss"),
    *("probe.entropy", "pool.overlap", "dose.rate"),
)
TOTALS = {"total_steps": "train.steps", "total_tokens": "train.tokens"}
DOSE = "dose.rate"  # left out where it is the same in every step, and so can be told
STAGES = ("start", "collapse", "end")  # of `Outcome.validation`
STAY = ("entered", "left", "updates", "entries")  # of a state in a profile


def write_kept(
    readers: Sequence[RunReader],
    out: Path,
    *,
    keys: Sequence[str],
    group: str | None = None,
    names: Sequence[str] = NAMES,
    every: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write runs.csv, updates.csv and about.json; return what the last one holds.

    Args:
        readers: of the runs. Those that have not ended by themselves are left out, and named.
        out: made where it does not exist.
        keys: dotted, that the runs were swept over.
        group: "learning rate", "size" or "phase" where they vary that.
        names: of the numbers of rows that are kept, of labelled ones all labels.
        every: updates from one row that is kept to the next. The first two rows and the last,
            those about the collapse, entries of states, and the two evaluations between which
            the validation loss has risen by half a nat are kept in any case. Above 1, what is
            computed from several probes in a row is another number.
        facts: that about.json has beside those of the manifests.

    Raises:
        UserError: where no run has ended.
        MachineError: where the disk does not take a file.
    """
    runs, left_out = measure_runs(readers)
    if not runs:
        raise UserError.single("runs", "none that has ended", "finished runs to keep")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    shared, own = settings_of([run.config for run in runs])
    told = _about(runs, left_out, keys, group, every) | dict(facts or {}) | {"config": shared}
    write_atomically(out / RUNS, _runs_text(runs, own))
    write_atomically(out / UPDATES, _updates_text(runs, names, every))
    write_atomically(out / ABOUT, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return told


def _about(
    runs: Sequence[Measured],
    left_out: Sequence[LeftOut],
    keys: Sequence[str],
    group: str | None,
    every: int,
) -> dict[str, Any]:
    """What manifests say, each value once."""
    manifests = [run.reader.manifest() for run in runs]

    def all_of(name: str) -> list[Any]:
        texts = dict.fromkeys(json.dumps(m[name]) for m in manifests if m.get(name) is not None)
        return [json.loads(text) for text in texts]

    started = sorted(all_of("started"))
    return {
        "version": __version__,
        "keys": list(keys),
        "group": group,
        "rows_every": every,
        "runs": len(runs),
        "left_out": [asdict(one) for one in left_out],
        "started": started[:1] + started[1:][-1:],
        "run_seconds": round(sum(float(m.get("seconds") or 0) for m in manifests)),
        **{name: all_of(name) for name in ("processor", "device", "threads", "precision")},
        **{name: all_of(name) for name in ("python", "versions", "git_commit")},
        "corpora": _corpora(manifests),
    }


def _corpora(manifests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name, form and size of each corpus, as each tokenizer has it."""
    names = ("name", "form", "tokens", "scored_tokens", "windows", "context")
    found = (
        json.dumps({name: corpus[name] for name in names if name in corpus})
        for manifest in manifests
        for corpus in manifest["corpora"]
    )
    return [json.loads(text) for text in dict.fromkeys(found)]


# --- runs --------------------------------------------------------------------------------------


def _runs_text(runs: Sequence[Measured], own: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        {
            **{"number": number, "run": run.outcome.run, **values},  # a setting may be null
            **_known({**_outcome(run), **_endings(run), **_totals(run)}),
        }
        for number, (run, values) in enumerate(zip(runs, own, strict=True), 1)
    ]
    return _csv(list(dict.fromkeys(name for row in rows for name in row)), rows)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """What there is; None is an empty cell."""
    return {name: value for name, value in values.items() if value is not None}


def _outcome(run: Measured) -> dict[str, Any]:
    """The fields of an outcome, a column for each validation loss."""
    values = {**vars(run.outcome), "model": bare(run.outcome.model)}
    losses = values.pop("validation")
    return {k: v for k, v in values.items() if k != "run"} | {
        f"validation_{corpus}_{stage}": loss
        for corpus, stages in losses.items()
        for stage, loss in zip(STAGES, stages, strict=True)
    }


def _totals(run: Measured) -> dict[str, float | None]:
    """Sums over all updates, whatever rows are kept; None of what older rows do not tell."""
    found = {total: run.series(name).values() for total, name in TOTALS.items()}
    return {total: sum(values) if values else None for total, values in found.items()}


def _endings(run: Measured) -> dict[str, Any]:
    return {f"{state}_{name}": stay[name] for state, stay in run.endings().items() for name in STAY}


# --- updates -----------------------------------------------------------------------------------


def _updates_text(runs: Sequence[Measured], names: Sequence[str], every: int) -> str:
    known = dict.fromkeys(name for run in runs for row in run.rows for name in row.values)
    told = {DOSE} if all(_is_steady(run) for run in runs) else set()
    chosen = [name for name in known if name.partition("[")[0] in names and name not in told]
    rows = (
        {"number": number, "update": row.update}
        | {name: row.values[name] for name in chosen if name in row.values}
        for number, run in enumerate(runs, 1)
        for row in _thinned(run, every)
    )
    return _csv(["number", "update", *chosen], rows)


def steady_dose(run: Measured, update: int) -> float:
    """The dose of steps that all have the rate of the first."""
    return update * run.config.training.steps_per_update * run.outcome.learning_rate


def _is_steady(run: Measured) -> bool:
    return all(
        math.isclose(dose, steady_dose(run, update), rel_tol=1e-6)
        for update, dose in run.series(DOSE).items()
    )


def _thinned(run: Measured, every: int) -> Iterator[Row]:
    wanted = set(_landmarks(run))
    return (row for row in run.rows if row.update % every == 0 or row.update in wanted)


def _landmarks(run: Measured) -> Iterator[int]:
    yield from (0, 1, run.rows[-1].update)
    profile = run.endings().values()
    turns = (run.outcome.collapse_update, *(s[n] for s in profile for n in ("entered", "left")))
    for update in turns:
        if update is not None:
            yield from (update - 1, update)
    for corpus in run.outcome.corpora:
        yield from _crossing(run.series(label("validation.loss", corpus)))


def _crossing(losses: Mapping[int, float]) -> Iterator[int]:
    """The first evaluation that is half a nat above the first of all, and the one before it."""
    updates = list(losses)
    for before, update in pairwise(updates):
        if losses[update] - losses[updates[0]] >= RISE:
            yield from (before, update)
            return


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table; a name that a row does not have is an empty cell, and null is a value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row[name]) if name in row else "" for name in columns])
    return text.getvalue()
