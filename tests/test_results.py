"""Tables in the repository: they hold what runs found, and the docs are what they give."""

import importlib.util
import json
import math
import re
import sys
from pathlib import Path
from statistics import fmean

import pytest
from run_dirs import sweep, write_run

from collapse_lm.analysis.kept import read_kept, write_kept
from collapse_lm.analysis.kept.cells import cell, value_of
from collapse_lm.analysis.outcomes import measure_runs
from collapse_lm.config import identity
from collapse_lm.errors import UserError
from collapse_lm.measures.endings import STATES
from collapse_lm.measures.names import Row
from collapse_lm.rundir.rows import row_line
from collapse_lm.sweeps import SweepFolder, load_sweep

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results"
# Beside the sweeps of docs/findings.md:
KNOWN = {"calibration", "toys", "dynamic-eval", "dynamic-rules", "monitor", "change-error"}
KNOWN |= {"evaluations", "presets"}  # of docs/paper-index.md


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def findings():
    return script("render_findings")


def alike(one, other):
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-4) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(v, other[k]) for k, v in one.items())
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return type(one) is type(other) and one == other


def with_rows(reader, change):
    rows = [change(row) for row in reader.updates()]
    text = "".join(f"{row_line(row)}\n" for row in rows)
    (reader.path / "updates.jsonl").write_text(text)


# --- what is kept -------------------------------------------------------------------------------


def test_runs_come_back_as_the_analysis_has_them(tmp_path):
    runs = sweep(
        tmp_path / "s",
        {2e-5: [26, None], 1.6e-4: [9, 1]},
        corpora=("sotu", "text:a b"),
        overrides=["source.kind=real", "source.corpus=sotu-train", "sampling.top_k=null"],
    )
    write_kept(runs, tmp_path / "kept", keys=["training.learning_rate"], group="learning rate")
    kept = read_kept(tmp_path / "kept")
    assert kept.keys == ["training.learning_rate"]
    for before, after in zip(measure_runs(runs)[0], kept.runs, strict=True):
        wrong = [n for n, v in vars(before.outcome).items() if not alike(v, vars(after.outcome)[n])]
        assert wrong == []
        assert identity(after.config) == identity(before.config)
        assert after.endings() == before.endings()
        assert after.dose() == pytest.approx(before.dose(), rel=1e-4)
        assert after.validation_loss("text:a b") == pytest.approx(
            before.validation_loss("text:a b")
        )
        assert after.series("probe.entropy") == before.series("probe.entropy")


def test_a_setting_that_is_null_in_one_arm_only_comes_back_as_null(tmp_path):
    runs = [
        write_run(tmp_path / f"{k}", updates=6, overrides=[f"sampling.top_k={k}"])
        for k in ("null", 20, 500)
    ]
    write_kept(runs, tmp_path / "kept", keys=["sampling.top_k"])
    kept = read_kept(tmp_path / "kept").runs
    assert sorted(str(run.config.sampling.top_k) for run in kept) == ["20", "500", "None"]


def test_what_is_not_a_number_comes_back_as_such(tmp_path):
    run = write_run(tmp_path / "r", updates=6, diverged=True)
    write_kept([run], tmp_path / "kept", keys=[])
    (after,) = read_kept(tmp_path / "kept").runs
    assert after.outcome.status == "diverged"
    assert math.isnan(after.rows[-1].get("train.loss"))
    assert "train.loss" not in after.rows[0].values


@pytest.mark.parametrize(
    "value",
    [
        *("own", "null", "1e-5", "true", "[1]", "nan", 'a "b", c', ""),
        *(None, True, 7, 0.25, math.inf, -math.inf, [0.9, 0.95], ["sotu", "text:a b"]),
        [{"kind": "overlap", "n": 4}],
    ],
)
def test_a_cell_comes_back_as_it_was(value):
    assert value_of(cell(value)) == value


def test_numbers_have_five_digits():
    assert [cell(1 / 3), cell(123456.7), cell(2e-5), cell(3)] == [
        "0.33333",
        "1.2346e+05",
        "2e-05",
        "3",
    ]


def test_thinning_keeps_what_happened(tmp_path):
    run = write_run(tmp_path / "r", collapse=37, updates=100, stop=False)
    write_kept([run], tmp_path / "kept", keys=[], every=20)
    (after,) = read_kept(tmp_path / "kept").runs
    # Updates 0, 20, ...; 1; the loop at 37; half a nat is reached between 49 and 50, where
    # drift, which is above half a nat, is entered one update later.
    expected = {0, 1, 20, 36, 37, 40, 49, 50, 60, 80, 100}
    assert expected <= {row.update for row in after.rows}
    assert len(after.rows) < 20
    assert after.outcome.collapse_update == 37


def test_a_dose_that_cannot_be_told_is_kept(tmp_path):
    run = write_run(tmp_path / "r", updates=4, rate=1e-4)
    doses = {1: 1e-4, 2: 1.5e-4, 3: 1.7e-4, 4: 1.8e-4}

    def decay(row):
        step = {"dose.rate": doses.get(row.update), "train.steps": 1, "train.tokens": 20}
        return Row(row.update, {**row.values, **(step if row.update else {})})

    with_rows(run, decay)
    write_kept([run], tmp_path / "kept", keys=[], every=3)
    kept = read_kept(tmp_path / "kept")
    (after,) = kept.runs
    assert after.series("dose.rate") == pytest.approx({u: doses[u] for u in (1, 3, 4)})
    assert kept.totals == ({"total_steps": 4, "total_tokens": 80},)  # of all rows


def test_runs_that_have_not_ended_are_named(tmp_path):
    done = write_run(tmp_path / "s" / "a", updates=3)
    running = write_run(tmp_path / "s" / "b", updates=3, status="running")
    told = write_kept([done, running], tmp_path / "kept", keys=[])
    assert told["left_out"] == [{"run": "b", "reason": "status: running"}]
    with pytest.raises(UserError, match="ended"):
        write_kept([running], tmp_path / "none", keys=[])
    assert not (tmp_path / "none").exists()


def test_where_models_lay_is_not_kept(tmp_path):
    run = write_run(tmp_path / "r", updates=3, model=str(tmp_path / "home" / "ladder" / "64x3"))
    write_kept([run], tmp_path / "kept", keys=[])
    (after,) = read_kept(tmp_path / "kept").runs
    assert after.config.model == after.outcome.model == "64x3"
    assert all(str(tmp_path) not in path.read_text() for path in (tmp_path / "kept").iterdir())


# --- the scripts -------------------------------------------------------------------------------


def controls(folder, seeds=3):
    """A sweep folder: own text loops and drifts, human text does not, rate 0 changes nothing."""
    spec = {
        "base": "quickstart",
        "set": {"run.max_updates": 40, "collapse.stop": False},
        "runs": [
            {"source.kind": "own"},
            {"source.kind": "real", "source.corpus": "sotu-train"},
            {"source.kind": "own", "training.learning_rate": 0},
        ],
        "seeds": seeds,
    }
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(json.dumps(spec))
    sweep_folder = SweepFolder(folder / "sweep")
    sweep_folder.open(load_sweep(str(folder / "spec.yaml")))
    for run in sweep_folder.plan().runs:
        rate, own = run.config.training.learning_rate, run.config.source.is_own
        slope = {True: 0.05, False: -0.01}[own] * (rate > 0)
        words = [f"{k}={json.dumps(v)}" for k, v in run.values.items()]
        write_run(
            sweep_folder.run_path(run),
            seed=run.config.seed,
            rate=rate,
            updates=40,
            stop=False,
            collapse=12 if own and rate else None,
            validation=lambda update, corpus, slope=slope: 3 + slope * update,
            overrides=[*words, "collapse.stop=false"],
        )
    return folder / "sweep"


def test_a_sweep_is_kept_judged_and_shown(findings, tmp_path, capsys):
    keep = script("keep_results")
    source = controls(tmp_path / "c")
    results = tmp_path / "results"
    keep.main([str(source), "controls", "--results", str(results), "--commit", "abcdef0123"])
    assert "all results:" in capsys.readouterr().out
    text = findings.findings(results)
    assert "9 of 9 runs, 3 seeds" in text
    assert "Commit `abcdef0123`" in text
    assert "| C1 | **held** | own: a loop | in 3 of 3 runs |" in text
    assert "| C2 | **undecided** | frozen: no loop | in 0 of 0 runs |" in text
    assert "| C6 | **held** |" in text
    rows = [line for line in text.splitlines() if line.startswith("| own |")]
    assert "3 of 3, 12" in rows[0]
    assert "| 2 (2 to 2) |" in rows[0]
    assert "drift 3/3 at 11, loop 3/3 at 12" in rows[0]
    assert "by 2 (2 to 2) nats per token on its own text, and by -0.4" in findings.headline(results)
    assert text.count(findings.NOT_YET) == len(findings.TITLES) - 1 + 5


def test_too_much_for_a_repository_is_refused(tmp_path, monkeypatch):
    keep = script("keep_results")
    monkeypatch.setattr(keep, "MOST_BYTES", 100)
    run = write_run(tmp_path / "r", updates=3)
    with pytest.raises(SystemExit, match="too much"):
        keep.main([str(run.path), "one", "--results", str(tmp_path / "results")])


def test_a_dynamic_evaluation_is_computed_again_from_its_segments(findings, tmp_path):
    keep = script("keep_results")
    run = write_run(tmp_path / "r", updates=30, train=lambda update, _: 3 - update / 100)
    start = {"update": 0, "sotu": 3.0}
    summary = {
        **{"status": "finished", "collapsed": False, "collapse_update": None, "updates": 30},
        **{"degenerate_before_training": False, "criteria": [], "reason": "", "limit": None},
        **{"validation": {"start": start, "collapse": None, "end": start}, "train_loss": {}},
        **{"static_losses": [3.0] * 30, "tokens": 6000, "segments": 30, "static_context": 200},
        **{"static_loss_longest": 2.5, "longest_context": 1024},
    }
    (run.path / "summary.json").write_text(json.dumps(summary))
    keep.main([str(run.path), "dynamic-eval", "--results", str(tmp_path / "results")])
    text = findings.dynamic(tmp_path / "results")
    row = next(line for line in text.splitlines() if line.startswith("| 6,000 |"))
    assert "| 3.0000 | 2.8450 | -0.1550 (" in row
    assert "2.5000 at 1024" in row


# --- what stands in the docs -------------------------------------------------------------------


def test_every_state_is_reached_by_runs_that_are_kept(findings):
    table = findings.reached([k for n in findings.TITLES if (k := findings.kept(RESULTS, n))])
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[4:]]
    assert [row[0] for row in rows] == [*STATES, "broken at the start"]
    assert all(int(row[1]) >= 3 for row in rows)
    assert all(row[2] != "none" for row in rows)
    kept = findings.kept(RESULTS, "endings").runs
    ends = [run for run in kept if run.config.sampling.stop_at_eos]
    lengths = [list(run.series("probe.length").values()) for run in ends]
    assert all(fmean(one[:20]) > 10 * fmean(one[-20:]) for one in lengths)  # they shrink


def test_the_findings_and_the_headline_are_what_the_tables_give(findings):
    assert f"{findings.BEGIN}\n{findings.findings(findings.RESULTS)}\n{findings.END}" in (
        findings.PAGE.read_text("utf-8")
    )
    assert f"{findings.HEAD}\n{findings.headline(findings.RESULTS)}\n{findings.HEAD_END}" in (
        findings.README.read_text("utf-8")
    )


def test_results_in_the_repository_are_known_complete_and_small(findings):
    keep = script("keep_results")
    folders = [path for path in findings.RESULTS.iterdir() if path.is_dir()]
    assert {path.name for path in folders} <= KNOWN | set(findings.TITLES)
    assert keep.size_of(findings.RESULTS) <= keep.MOST_BYTES
    for folder in folders:
        for one in re.findall(r"\]\((?!http)([^)#]+)\)", findings.PAGE.read_text("utf-8")):
            assert (DOCS / one).exists(), one
        if (folder / "runs.csv").is_file() and folder.name in findings.TITLES:
            assert len(read_kept(folder).runs) == read_kept(folder).about["runs"]
