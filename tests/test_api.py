"""`collapse_lm.sweep` and `collapse_lm.reproduce`: what the commands do, for Python."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import collapse_lm
from collapse_lm import UserError
from collapse_lm.config import load_config
from collapse_lm.pretraining.recipe import Recipe
from collapse_lm.reproduction.api import train_ladder
from collapse_lm.sweeps import load_sweep
from collapse_lm.sweeps.groups import LEARNING_RATE, PHASE, SIZE

from conftest import PROSE, save, tiny_gpt2

RATES = [1e-3, 3e-3]


@pytest.fixture
def tree(tiny_overrides):
    """A sweep of two rates over the tiny run, as a mapping."""
    fixed = dict(word.split("=", 1) for word in tiny_overrides)
    fixed["evaluation.corpora"] = [fixed["evaluation.corpora"].strip("[]")]
    del fixed["training.learning_rate"]
    return {
        "base": "quickstart",
        "set": {**fixed, "run.max_updates": 2},
        "grid": {"training.learning_rate": RATES},
    }


def test_a_sweep_is_done_once_and_told_run_by_run(tree, tmp_path):
    ended = []
    result = collapse_lm.sweep(tree, tmp_path / "out", on_end=ended.append)
    assert isinstance(result, collapse_lm.SweepResult)
    assert (result.folder, result.done_before) == (tmp_path / "out", 0)
    assert result.is_complete
    assert [run.values for run in result.runs] == [{"training.learning_rate": r} for r in RATES]
    assert [(e.name, e.status) for e in ended] == [(run.name, "done") for run in result.runs]
    for run in result.runs:
        assert run.path == result.folder / "runs" / run.name
        assert (run.seed, run.status) == (0, "done")
        assert run.summary == json.loads((run.path / "summary.json").read_text())
        assert run.told == run.summary["reason"] == "censored: reached run.max_updates"
    assert (result.folder / "tables" / "runs.csv").is_file()
    assert (result.folder / "figures" / "curves.svg").is_file()
    alone = collapse_lm.run(load_config(result.runs[0].path / "config.yaml"), tmp_path / "alone")
    assert alone.summary == result.runs[0].summary

    again = collapse_lm.sweep(tree, str(tmp_path / "out"), on_end=ended.append)
    assert again.runs == result.runs
    assert (again.done_before, len(ended)) == (2, 2)


def test_a_sweep_that_was_stopped_is_finished_by_the_next_call(tree, tmp_path):
    place = tmp_path / "out"
    longer = ["run.max_updates=20", "collapse.stop=false"]
    first = collapse_lm.sweep(
        tree,
        place,
        overrides=longer,
        should_stop=lambda: any(p.stat().st_size for p in place.glob("runs/*/updates.jsonl")),
    )
    assert first.was_stopped
    assert not first.is_complete
    assert [run.summary for run in first.runs if run.status == "stopped"][-1] is None
    assert not (place / "tables").exists()
    then = collapse_lm.sweep(tree, place, overrides=longer)
    assert then.is_complete
    assert [run.summary["updates"] for run in then.runs] == [20, 20]


def test_a_run_that_fails_is_told_and_the_others_are_done(tree, gpt2_dir, tmp_path):
    del tree["set"]["model"]
    tree["grid"] = {"model": [str(tmp_path / "none"), str(gpt2_dir)]}
    result = collapse_lm.sweep(tree, tmp_path / "out", overrides=["run.max_updates=1"])
    assert [run.status for run in result.runs] == ["failed", "done"]
    assert "no such folder" in result.runs[0].told
    assert result.runs[0].summary is None
    assert not result.is_complete
    assert not result.was_stopped
    assert (tmp_path / "out" / "tables" / "runs.csv").is_file()


def test_a_script_without_a_guard_does_its_sweep_once(tree, tmp_path):
    """A spawned worker must not run the script that asks for it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import collapse_lm\n"
        "print('once')\n"
        f"result = collapse_lm.sweep({tree!r}, 'out', overrides=['run.max_updates=1'])\n"
        "print([run.status for run in result.runs])\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["once", "['done', 'done']"]


@pytest.mark.parametrize(
    ("spec", "options", "wheres"),
    [
        (7, {}, ["sweep"]),
        ("nowhere.yaml", {}, ["sweep"]),
        (Path("nowhere.yaml"), {}, ["sweep"]),
        ({"grids": {}, "seeds": []}, {}, ["grids", "seeds"]),
        ({"grid": {"training.lerning_rate": [1]}}, {}, ["training.lerning_rate"]),
        ({}, {"overrides": "run.max_updates=1"}, ["overrides"]),
        ({}, {"overrides": ["sampling"]}, ["--set"]),
        ({}, {"engine": "slurm"}, ["engine"]),
        ({}, {"jobs": 0, "threads": "2", "gpus": -1}, ["address, gpus", "gpus", "jobs", "threads"]),
        ({}, {"address": "auto"}, ["address, gpus"]),
        ({}, {"engine": "ray", "jobs": 2}, ["jobs"]),
    ],
)
def test_a_mistake_is_told_before_anything_is_created(spec, options, wheres, tmp_path):
    with pytest.raises(UserError) as caught:
        collapse_lm.sweep(spec, tmp_path / "out", **options)
    assert sorted(problem.where for problem in caught.value.problems) == wheres
    assert all(problem.expected for problem in caught.value.problems)
    assert list(tmp_path.iterdir()) == []


def test_a_mapping_is_what_its_file_is(tmp_path):
    (tmp_path / "base.yaml").write_text("extends: quickstart\nseed: 7")
    (tmp_path / "s.yaml").write_text("base: base.yaml\ngrid: {sampling.top_k: [5, 50]}")
    from collapse_lm.sweeps.spec import read_sweep

    file = load_sweep(str(tmp_path / "s.yaml"))
    tree = {"base": str(tmp_path / "base.yaml"), "grid": {"sampling.top_k": [5, 50]}}
    assert read_sweep(tree) == read_sweep(tmp_path / "s.yaml") == file
    assert file.seeds == [7]


# --- the paper ---------------------------------------------------------------------------------


def test_a_figure_of_the_paper_is_reproduced(prose_file, tmp_path):
    save(tiny_gpt2(), tmp_path / "models" / "gpt2")
    small = [
        *("run.max_updates=1", f"evaluation.corpora=[text:{prose_file}]", "precision=float32"),
        *("sampling.max_new_tokens=40", "sampling.block_size=32", "training.window=32"),
        "evaluation.context=64",
    ]
    ended = []
    result = collapse_lm.reproduce(
        "fig2",
        "paper",
        models=str(tmp_path / "models"),
        seeds=1,
        out=tmp_path / "out",
        overrides=small,
        on_end=ended.append,
    )
    assert isinstance(result, collapse_lm.ReproductionResult)
    assert result.is_complete
    assert list(result.sweeps) == [LEARNING_RATE]
    runs = result.sweeps[LEARNING_RATE].runs
    assert [run.name for run in runs] == [one.name for one in ended]
    assert [run.values["training.learning_rate"] for run in runs] == [1e-5, 2e-5, 4e-5, 1e-4]
    written = json.loads((result.folder / "claims.json").read_text())
    assert [claim.id for claim in result.claims] == [claim["id"] for claim in written]
    assert (result.folder / "figures" / "figure2.svg").is_file()
    (call,) = map(json.loads, (result.folder / "calls.jsonl").read_text().splitlines())
    assert (call["runs"], call["missing_before"], call["failed"]) == (4, 4, 0)
    words = ["--scale", "paper", "--models", str(tmp_path / "models"), "--seeds", "1"]
    words += ["--out", str(tmp_path / "out"), "--engine", "local"]
    sets = [word for setting in small for word in ("--set", setting)]
    assert call["words"] == ["reproduce", "fig2", *words, *sets]  # the command that does the same


def test_a_reproduction_can_be_stopped_before_it_makes_its_models(tmp_path):
    result = collapse_lm.reproduce("fig3", seeds=1, out=tmp_path / "out", should_stop=lambda: True)
    assert (result.sweeps, result.claims, result.is_complete) == ({}, (), False)
    assert not (tmp_path / "out" / "ladder").exists()
    assert not (tmp_path / "out" / "claims.json").exists()
    assert (tmp_path / "out" / "calls.jsonl").is_file()


def test_models_in_training_can_be_stopped_and_finished_ones_stay(tmp_path):
    (tmp_path / "text.txt").write_text(PROSE * 40)
    recipe = Recipe(
        corpus=f"text:{tmp_path / 'text.txt'}",
        **{"sizes": ("32x1", "32x2"), "vocabulary": 300, "context": 32, "tokens": 32 * 32 * 3},
    )
    asked = []

    def stop():  # after one model of three steps, in the second
        asked.append(True)
        return len(asked) > recipe.steps + 2

    assert not train_ladder(recipe, tmp_path / "ladder", stop)
    assert [place.name for place in (tmp_path / "ladder").iterdir()] == ["32x1"]
    assert train_ladder(recipe, tmp_path / "ladder", lambda: False)
    assert sorted(place.name for place in (tmp_path / "ladder").iterdir()) == ["32x1", "32x2"]


@pytest.mark.parametrize(
    ("what", "scale", "options", "where"),
    [
        ("fig9", "paper", {}, "what"),
        ("fig2", "huge", {}, "scale"),
        ("fig2", "paper", {"seeds": 0}, "seeds"),
        ("fig2", "paper", {"seeds": "3"}, "seeds"),
        ("fig2", "paper", {"overrides": ["sampling.top_k=x"]}, "sampling.top_k"),
        ("fig2", "paper", {"overrides": "seed=1"}, "overrides"),
        ("fig2", "paper", {"engine": "abacus"}, "engine"),
    ],
)
def test_a_reproduction_that_cannot_be_is_told(what, scale, options, where, tmp_path):
    with pytest.raises(UserError) as caught:
        collapse_lm.reproduce(what, scale, out=tmp_path / "out", **options)
    assert [problem.where for problem in caught.value.problems] == [where]
    assert list(tmp_path.iterdir()) == []


def test_the_groups_are_those_that_the_analysis_knows():
    from collapse_lm.analysis import levels

    assert (LEARNING_RATE, SIZE, PHASE) == (levels.LEARNING_RATE, levels.SIZE, levels.PHASE)


def test_the_names_are_there_without_torch():
    code = "import sys, collapse_lm; collapse_lm.sweep, collapse_lm.reproduce, "
    code += "collapse_lm.SweepResult, collapse_lm.ReproductionResult; "
    code += "sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
