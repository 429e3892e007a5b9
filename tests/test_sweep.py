"""Sweeps: what a file stands for, that only what is missing is done, and what can go wrong."""

import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from run_dirs import write_run
from test_run import untimed

import collapse_lm
from collapse_lm.cli.sweep import board
from collapse_lm.config import load_config
from collapse_lm.errors import UserError
from collapse_lm.machine.processor import processor
from collapse_lm.rundir.rowfile import last_update
from collapse_lm.rundir.session import run
from collapse_lm.rundir.shape import RecordError
from collapse_lm.sweeps import (
    SweepFolder,
    SweepSpec,
    load_sweep,
    plan_sweep,
    progress_of,
    sweep_names,
    with_overrides,
)
from collapse_lm.sweeps.check import require_inputs
from collapse_lm.sweeps.engines import Task, run_locally
from collapse_lm.sweeps.engines.base import start_or_resume
from collapse_lm.sweeps.engines.choose import EngineChoice
from collapse_lm.sweeps.engines.share import share_machine
from collapse_lm.sweeps.job import plan_job
from collapse_lm.sweeps.progress import finding
from collapse_lm.sweeps.watch import Watch

from commands import call, command
from hostile import call as call_here


@pytest.fixture
def spec_file(tiny_overrides, tmp_path):
    """A sweep of two rates and two seeds over the tiny run, three updates each."""
    return write_spec(tiny_overrides, tmp_path / "spec.yaml")


def write_spec(tiny_overrides, path, **changes):
    fixed = dict(word.split("=", 1) for word in tiny_overrides)
    fixed["evaluation.corpora"] = fixed["evaluation.corpora"].strip("[]")
    del fixed["training.learning_rate"]
    tree = {
        "base": "quickstart",
        "set": {**fixed, "run.max_updates": 3},
        "grid": {"training.learning_rate": [1e-3, 3e-3]},
        "seeds": 2,
    }
    path.write_text(yaml.safe_dump(tree | changes))
    return path


def runs_of(out):
    return sorted(path.parent for path in out.glob("runs/*/manifest.json"))


# --- planning ---------------------------------------------------------------------------------


def test_a_grid_is_crossed_with_runs_and_seeds():
    spec = SweepSpec(
        grid={"training.learning_rate": [1e-5, 1e-4], "sampling.temperature": [0.8]},
        runs=[{"sampling.top_k": 10}, {"sampling.top_p": 0.5}],
        seeds=[3, 4],
    )
    configs = [run.config for run in plan_sweep(spec).runs]
    assert len(configs) == 8
    assert [config.seed for config in configs] == [3] * 4 + [4] * 4
    assert {config.sampling.top_k for config in configs} == {10, 500}
    assert [config.training.learning_rate for config in configs[:4]] == [1e-5, 1e-4] * 2


def test_arms_have_values_of_their_own_and_are_crossed_with_the_rest():
    spec = SweepSpec(
        arms=[
            {
                "set": {"training.optimizer.kind": "sgd"},
                "runs": [
                    {"training.learning_rate": 0.01, "run.max_updates": 90},
                    {"training.learning_rate": 0.03, "run.max_updates": 30},
                ],
            },
            {"grid": {"training.learning_rate": [1e-5, 1e-4, 1e-3]}},
        ],
        grid={"sampling.temperature": [0.8, 1.0]},
        seeds=2,
    )
    plan = plan_sweep(spec)
    assert len(plan.runs) == (2 + 3) * 2 * 2
    kinds = [run.config.training.optimizer.kind for run in plan.runs]
    assert (kinds.count("sgd"), kinds.count("adamw")) == (8, 12)
    lengths = {r.config.training.learning_rate: r.config.run.max_updates for r in plan.runs}
    assert (lengths[0.01], lengths[0.03]) == (90, 30)
    # The length of a run decides no number: no run is named or sorted by it.
    assert set(plan.keys) == {
        *("training.optimizer.kind", "training.learning_rate", "sampling.temperature"),
    }
    assert not any("max_updates" in run.name for run in plan.runs)


def test_a_key_is_in_one_place_of_an_arm_and_may_be_in_two_arms():
    both = [{"set": {"training.learning_rate": 1e-5}}, {"set": {"training.learning_rate": 1e-4}}]
    assert len(plan_sweep(SweepSpec(arms=both)).runs) == 2
    twice = [{"set": {"sampling.top_k": 5}, "grid": {"sampling.top_k": [1]}}]
    with pytest.raises(UserError, match=r"arms\.0\.set\.sampling\.top_k"):
        plan_sweep(SweepSpec(arms=twice))
    with pytest.raises(UserError, match=r"set\.sampling\.top_k"):
        plan_sweep(SweepSpec(set={"sampling.top_k": 5}, arms=[{"set": {"sampling.top_k": 1}}]))
    with pytest.raises(UserError, match="a key that the sweep does not vary"):
        with_overrides(SweepSpec(arms=both), ["training.learning_rate=1"])


@pytest.mark.parametrize(
    ("name", "runs", "seeds"),
    [
        ("controls", 18, 3),
        ("law", 125, 5),
        ("law-smollm2", 3, 3),
        ("dose", 96, 6),
        ("truncation", 30, 5),
        ("batch", 30, 5),
        ("sizes", 120, 2),
        ("endings", 12, 3),
    ],
)
def test_the_sweeps_of_the_law(name, runs, seeds):
    plan = plan_sweep(load_sweep(name))
    assert len(plan.runs) == runs
    assert len({run.config.seed for run in plan.runs}) == seeds
    for config in (planned.config for planned in plan.runs):
        is_neutral = config.sampling.temperature == 1 and config.sampling.top_k is None
        if is_neutral and name != "law-smollm2":  # arms that claim no drift, and their like
            assert config.training.weight_decay == 0
            assert config.precision.training == "float32"
            assert (config.training.steps_per_update, config.sampling.stop_at_eos) == (1, False)


def test_names_stay_the_same_and_do_not_depend_on_the_length():
    one = plan_sweep(SweepSpec(grid={"training.learning_rate": [1e-5]}, seeds=2))
    longer = SweepSpec(
        grid={"training.learning_rate": [1e-5, 2e-5]}, set={"run.max_updates": 7}, seeds=2
    )
    names = [run.name for run in plan_sweep(longer).runs]
    assert {run.name for run in one.runs} <= set(names)
    assert names[0].startswith("learning_rate=1e-05-seed0-")


def test_names_do_not_depend_on_how_a_value_is_spelled():
    spelled = [["1e-5"], [1e-05], ["0.00001"]]
    specs = [SweepSpec(grid={"training.learning_rate": values}) for values in spelled]
    assert len({plan_sweep(spec).runs[0].name for spec in specs}) == 1


def test_text_values_are_kept_as_they_are(tmp_path):
    (tmp_path / "s.yaml").write_text('grid: {sampling.prompt: [2024-01-01, "\U0001f600 \\n"]}')
    prompts = [
        run.config.sampling.prompt for run in plan_sweep(load_sweep(str(tmp_path / "s.yaml"))).runs
    ]
    assert prompts == ["2024-01-01", "\U0001f600 \n"]


def test_a_sweep_without_seeds_has_the_seed_of_its_base(tmp_path):
    (tmp_path / "base.yaml").write_text("extends: quickstart\nseed: 7")
    (tmp_path / "s.yaml").write_text("base: base.yaml")
    assert [run.config.seed for run in plan_sweep(load_sweep(str(tmp_path / "s.yaml"))).runs] == [7]


def test_a_value_that_is_a_path_stays_inside_the_folder():
    spec = SweepSpec(grid={"model": ["../../evil", "a/b/../c d"]})
    assert all("/" not in run.name and ".." not in run.name for run in plan_sweep(spec).runs)


@pytest.mark.parametrize("name", sweep_names())
def test_every_packaged_sweep_plans(name):
    assert plan_sweep(load_sweep(name)).runs


@pytest.mark.parametrize(
    ("text", "wheres"),
    [
        ("grid: {training.lerning_rate: [1]}", ["training.lerning_rate"]),
        ("grid: {training.learning_rate: []}", ["grid.training.learning_rate"]),
        ("grid: {training.learning_rate: [fast, -1]}", ["training.learning_rate"] * 2),
        ("grid: {training.learning_rate: [1.0e-4, 1e-4]}", ["sweep"]),
        ("seeds: [1, 1]", ["sweep"]),
        ("seeds: []", ["seeds"]),
        ("seeds: 0", ["seeds"]),
        ("grids: {}\nbase: [1]", ["base", "grids"]),
        ("base: nowhere", ["preset or YAML file"]),
        (f"base: {'x' * 5000}", ["preset or YAML file"]),
        ("grid: {seed: [7]}", ["grid.seed"]),
        ("set: {seed: 7}", ["set.seed"]),
        ("set: {sampling.top_k: 5}\ngrid: {sampling.top_k: [6, 7]}", ["set.sampling.top_k"]),
        ("grid: {sampling.top_k: [6]}\nruns: [{sampling.top_k: 7}]", ["grid.sampling.top_k"]),
        ("seeds: 999999", ["sweep"]),
    ],
)
def test_a_bad_sweep_is_told_with_all_its_mistakes(text, wheres, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        plan_sweep(load_sweep(str(path)))
    assert sorted(problem.where for problem in caught.value.problems) == sorted(wheres)


def test_an_override_is_for_keys_that_do_not_vary():
    spec = with_overrides(SweepSpec(grid={"sampling.top_k": [5]}), ["sampling.temperature=1.5"])
    assert plan_sweep(spec).runs[0].config.sampling.temperature == 1.5
    with pytest.raises(UserError, match="a key that the sweep does not vary"):
        with_overrides(spec, ["sampling.top_k=7"])
    with pytest.raises(UserError, match="key=value"):
        with_overrides(spec, ["sampling"])


def test_too_many_runs_need_a_yes(tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text("seeds: 201")
    done = call("sweep", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "201 runs" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(spec_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    done = call("sweep", spec_file, "--out", tmp_path / "out")
    assert (done.returncode, "a folder of something else" in done.stderr) == (2, True)
    onto_itself = call("sweep", spec_file, "--out", spec_file)
    assert (onto_itself.returncode, "a file" in onto_itself.stderr) == (2, True)


def test_a_sweep_may_grow_and_not_become_another(tmp_path):
    folder = SweepFolder(tmp_path / "out")
    spec = SweepSpec(set={"sampling.top_k": 5}, grid={"training.learning_rate": [1e-5]})
    folder.open(spec)
    longer = {"sampling.top_k": 5, "run.max_updates": 9}
    folder.open(spec.model_copy(update={"set": longer, "seeds": [0, 1]}))
    assert len(folder.plan().runs) == 2
    for change in ({"set": {"sampling.top_k": 6}}, {"set": {}}, {"base": "paper"}):
        with pytest.raises(UserError, match="choose another --out"):
            folder.open(spec.model_copy(update=change))
    assert folder.plan().runs[0].config.sampling.top_k == 5


def test_what_no_run_can_do_without_is_told_once_and_nothing_is_made(spec_file, tmp_path):
    nowhere = ["--set", "evaluation.corpora=text:nowhere.txt", "--set", "model=./nowhere"]
    done = call_here("sweep", spec_file, "--out", tmp_path / "out", *nowhere)
    assert (done.code, done.out) == (2, "")
    assert "2 problems" in done.err
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="nowhere"):
        collapse_lm.sweep(str(spec_file), tmp_path / "out", overrides=nowhere[1::2])
    assert not (tmp_path / "out").exists()


def test_texts_of_measures_and_optimizers_are_looked_for_too(tiny_overrides, tmp_path):
    missing = [{"kind": kind, "corpus": f"text:no-{kind}.txt"} for kind in ("prefixes", "types")]
    step = {"kind": "fresh", "of": {"kind": "krause", "corpus": "text:no-krause.txt"}}
    runs = [{"measures": [one]} for one in missing] + [{"training.optimizer": step}]
    spec = write_spec(tiny_overrides, tmp_path / "spec.yaml", grid={}, runs=runs, seeds=1)
    done = call_here("sweep", spec, "--out", tmp_path / "out")
    assert done.code == 2
    for kind in ("prefixes", "types", "krause"):
        assert f"no-{kind}.txt" in done.err
    assert not (tmp_path / "out").exists()


def test_a_finished_sweep_asks_for_no_model(spec_file, gpt2_dir, tmp_path):
    """Its tables can be made again where the model is not."""
    shutil.copytree(gpt2_dir, tmp_path / "model")
    changes = [f"model={tmp_path / 'model'}", "run.max_updates=1"]
    job = plan_job(spec_file, tmp_path / "out", changes)
    job.open()
    for planned in job.plan.runs:
        run(planned.config, job.folder.run_path(planned))
    shutil.rmtree(tmp_path / "model")
    require_inputs([job], EngineChoice())
    shutil.rmtree(job.folder.run_path(job.plan.runs[0]))
    with pytest.raises(UserError, match="no such folder"):
        require_inputs([job], EngineChoice())
    require_inputs([job], EngineChoice("ray", address="auto"))  # other machines do the runs


def test_equal_failures_are_told_once(spec_file, tmp_path):
    """What the look beforehand does not find is found by every run."""
    done = call("sweep", spec_file, "--out", tmp_path / "out", "--set", "evaluation.context=999")
    assert done.returncode == 1
    assert done.stdout.count("at most 128") == 1
    assert done.stdout.count("failed, as [1/4]") == 3


# --- doing ------------------------------------------------------------------------------------


def test_a_sweep_does_every_run_as_run_does_it_and_then_nothing(tiny_overrides, tmp_path):
    spec_file = write_spec(tiny_overrides, tmp_path / "spec.yaml", seeds=1)
    out = tmp_path / "out"
    first = call("sweep", spec_file, "--out", out)
    assert first.returncode == 0, first.stderr
    assert "this time: 2 done" in first.stdout
    for path in runs_of(out):
        alone = run(load_config(path / "config.yaml"), tmp_path / path.name).directory
        assert untimed(alone) == untimed(path)
    listed = call_here("ls", tmp_path).out
    assert f"sweep {out}: 2 runs: 2 done" in listed
    assert "0.003" in listed
    again = call_here("sweep", spec_file, "--out", out)
    assert "2 runs, 2 done before" in again.out
    assert "nothing to do" in again.out
    longer = call_here("sweep", spec_file, "--out", out, "--set", "run.max_updates=5")
    assert "this time: 2 done" in longer.out
    assert [untimed(path)[-1]["update"] for path in runs_of(out)] == [5] * 2


def test_a_dry_run_tells_how_long_and_makes_nothing(spec_file, tmp_path):
    planned = call("sweep", spec_file, "--out", tmp_path / "out", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert re.search(r"4 runs, 4 to do: at most about (\d+ min )?\d+ s, ", planned.stdout)
    assert f"measured now on {processor()}" in planned.stdout
    assert planned.stdout.count("missing  0 updates") == 4
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["doing", "dry"])
def test_a_dry_run_refuses_what_the_sweep_would(words, spec_file, tmp_path):
    SweepFolder(tmp_path / "out").open(load_sweep(str(spec_file)))
    before = (tmp_path / "out" / "sweep.yaml").read_bytes()
    other = ("--set", "sampling.top_k=7", *words)
    done = call_here("sweep", spec_file, "--out", tmp_path / "out", *other)
    assert (done.code, done.out) == (2, "")
    assert "choose another --out" in done.err
    assert (tmp_path / "out" / "sweep.yaml").read_bytes() == before
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    done = call_here("sweep", spec_file, "--out", tmp_path / "runs", *words)
    assert (done.code, "a folder of something else" in done.err) == (2, True)
    nowhere = ("--set", "model=./nowhere", *words)
    done = call_here("sweep", spec_file, "--out", tmp_path / "new", *nowhere)
    assert (done.code, "nowhere" in done.err) == (2, True)
    assert not (tmp_path / "new").exists()
    folder = SweepFolder(tmp_path / "paper" / "learning-rate")
    folder.open(SweepSpec(set={"sampling.top_k": 7}))
    done = call_here("reproduce", "fig2", "--out", tmp_path / "paper", *words)
    assert (done.code, "choose another --out" in done.err) == (2, True)


def test_what_a_run_found_is_told_with_its_update():
    reason = "collapse: loop_share for 5 updates in a row"
    told = finding({"reason": reason, "collapse_update": 8})
    assert told == "collapse at update 8: loop_share for 5 updates in a row"
    assert finding({"reason": "censored: x", "collapse_update": None}) == "censored: x"


def test_ls_tells_the_source_and_what_the_sweep_varies(spec_file, tmp_path):
    grid = {"training.weight_decay": [0, 0.5], "training.betas": [[0.9, 0.95]]}
    tree = yaml.safe_load(spec_file.read_text()) | {"grid": grid, "seeds": 1}
    spec_file.write_text(yaml.safe_dump(tree))
    folder = SweepFolder(tmp_path / "out")
    folder.open(load_sweep(str(spec_file)))
    ending = {"status": "finished", "updates": 30, "collapsed": False, "collapse_update": None}
    for planned in folder.plan().runs:
        words = [f"{key}={json.dumps(value)}" for key, value in planned.values.items()]
        place = write_run(folder.run_path(planned), overrides=words).path
        (place / "summary.json").write_text(json.dumps({**ending, "reason": "", "validation": {}}))
    listed = call_here("ls", tmp_path).out
    assert " source " in listed.splitlines()[1]
    assert "training.betas [0.9, 0.95], training.weight_decay 0.5" in listed
    rows = json.loads(call_here("ls", tmp_path, "--json").out)
    assert {row["source"] for row in rows} == {"own"}
    assert [row["swept"]["training.weight_decay"] for row in rows] == [0.0, 0.5]
    config = folder.run_path(planned) / "config.yaml"
    given = "source:\n  kind: python\n  name: mine:Real"
    config.write_text(config.read_text().replace("source:\n  kind: own", given))
    (folder.path / "sweep.yaml").write_text("[")
    rows = json.loads(call_here("ls", tmp_path, "--json").out)
    assert [row["source"] for row in rows] == ["own", "python mine:Real"]
    assert [row["swept"] for row in rows] == [{}, {}]


@pytest.mark.parametrize(
    ("grid", "figures"),
    [
        ({"training.learning_rate": [1e-3, 3e-3]}, {"curves", "survival", "endings", "dose"}),
        (
            {"training.learning_rate": [1e-3, 3e-3], "sampling.temperature": [0.8, 1.0]},
            {"curves", "survival", "phase", "endings", "dose-1", "dose-2"},
        ),
        ({"training.weight_decay": [0, 0.1]}, {"curves", "survival", "endings"}),
    ],
    ids=["rates", "phase", "other"],
)
def test_a_sweep_shows_what_its_runs_did(grid, figures, spec_file, tmp_path):
    tree = yaml.safe_load(spec_file.read_text()) | {"grid": grid, "seeds": 1}
    tree["set"]["run.max_updates"] = 1
    spec_file.write_text(yaml.safe_dump(tree))
    folder = SweepFolder(tmp_path / "out")
    folder.open(load_sweep(str(spec_file)))
    for planned in folder.plan().runs:  # done here, so that no worker has to start
        run(planned.config, folder.run_path(planned))
    done = call_here("sweep", spec_file, "--out", folder.path)
    assert done.code == 0, done.err
    assert "nothing to do" in done.out
    rows = (tmp_path / "out" / "tables" / "runs.csv").read_text().splitlines()
    runs = 1
    for values in grid.values():
        runs *= len(values)
    assert len(rows) == 1 + runs
    for table in ("runs", "updates", "survival"):
        header = (tmp_path / "out" / "tables" / f"{table}.csv").read_text().partition("\n")[0]
        assert set(grid) <= set(header.split(","))
    assert {path.stem for path in (tmp_path / "out" / "figures").glob("*.svg")} == figures
    assert not (tmp_path / "out" / "claims.md").exists()  # a tiny model on a text of its own
    assert "claims" not in done.out
    for key in grid:
        assert f"{key}: " in done.out


def test_a_killed_sweep_finishes_only_what_is_missing(tiny_overrides, tmp_path):
    spec_file = write_spec(tiny_overrides, tmp_path / "spec.yaml", seeds=1)
    out = tmp_path / "out"
    words = ("sweep", spec_file, "--out", out, "--set", "run.max_updates=40")
    words += ("--set", "collapse.stop=false", "--set", "run.checkpoint_every=10")

    def finished():
        manifests = {path: (path / "manifest.json").read_bytes() for path in runs_of(out)}
        return {path: text for path, text in manifests.items() if b'"finished"' in text}

    with subprocess.Popen(command(*words), start_new_session=True) as process:
        limit = time.monotonic() + 120
        while not finished() and time.monotonic() < limit:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    done_before = finished()
    again = call(*words)
    assert again.returncode == 0, again.stderr
    assert "this time: " in again.stdout
    assert len(done_before) == 1
    assert len(runs_of(out)) == 2
    for path, manifest in done_before.items():
        assert (path / "manifest.json").read_bytes() == manifest
    for path in runs_of(out):
        assert untimed(path)[-1]["update"] == 40


def test_ls_names_a_damaged_sweep_and_counts_what_is_missing(spec_file, tmp_path):
    folder = SweepFolder(tmp_path / "out")
    folder.open(load_sweep(str(spec_file)))
    assert f"sweep {folder.path}: 4 runs: 4 missing" in call("ls", folder.path).stdout
    (folder.path / "sweep.yaml").write_text("\x1b[31m: [")
    listed = call("ls", tmp_path)
    assert listed.returncode == 0
    assert f"sweep {folder.path}: damaged" in listed.stdout
    assert "\x1b" not in listed.stdout


def test_a_signal_ends_a_sweep_with_checkpoints(spec_file, tmp_path):
    out = tmp_path / "out"
    words = ("sweep", spec_file, "--out", out, "--set", "run.max_updates=100000")
    words += ("--set", "collapse.stop=false")
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True) as process:
        while not (found := list(out.glob("runs/*/updates.jsonl"))):
            time.sleep(0.05)
        while last_update(found[0]) < 5:
            time.sleep(0.05)
        process.terminate()
        printed = process.communicate(timeout=60)[0]
    assert process.returncode == 143
    assert "1 stopped" in printed
    assert list(found[0].parent.glob("checkpoints/u*"))


# --- the engine -------------------------------------------------------------------------------


def tasks_of(spec_file, tmp_path, *changes, seeds=2):
    spec = load_sweep(str(spec_file)).model_copy(update={"seeds": list(range(seeds))})
    plan = plan_sweep(with_overrides(spec, changes))
    folder = SweepFolder(tmp_path / "sweep")
    return plan, folder, [Task(r.name, r.config, folder.run_path(r)) for r in plan.runs]


def test_a_worker_that_dies_takes_nothing_with_it(spec_file, tmp_path):
    changes = ("run.max_updates=40", "collapse.stop=false", "run.checkpoint_every=10")
    plan, folder, tasks = tasks_of(spec_file, tmp_path, *changes, seeds=1)
    victim, killed = tasks[0].path, []

    def kill_once():
        rows = victim / "updates.jsonl"
        if not killed and rows.is_file() and rows.read_text().count("\n") > 20:
            killed.append(json.loads((victim / "manifest.json").read_text())["process"])
            os.kill(killed[0], signal.SIGKILL)
        return False

    ended = list(run_locally(tasks, jobs=1, threads=1, logs=folder.logs, should_stop=kill_once))
    assert killed
    assert sorted(e.name for e in ended) == sorted(task.name for task in tasks)
    assert {e.status for e in ended} == {"done"}
    manifest = json.loads((victim / "manifest.json").read_text())
    assert manifest["resumed_after"]
    alone = run(tasks[0].config, tmp_path / "alone").directory
    assert untimed(alone) == untimed(victim)
    assert {progress_of(r, folder.run_path(r)).state for r in plan.runs} == {"done"}


def test_a_worker_that_dies_before_it_takes_its_run_is_replaced(spec_file, tmp_path):
    _, folder, tasks = tasks_of(spec_file, tmp_path, seeds=1)
    killed = []

    def kill_the_first():
        for child in multiprocessing.active_children():
            if not killed:
                killed.append(child.pid)
                child.kill()
                child.join()
        return False

    ended = list(
        run_locally(tasks, jobs=1, threads=1, logs=folder.logs, should_stop=kill_the_first)
    )
    assert killed
    assert [e.status for e in ended] == ["done", "done"]


def test_a_worker_that_never_lives_fails_its_runs(spec_file, tmp_path, monkeypatch):
    _, folder, tasks = tasks_of(spec_file, tmp_path, seeds=1)

    def kill_all():
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        return False

    ended = list(run_locally(tasks, jobs=1, threads=1, logs=folder.logs, should_stop=kill_all))
    assert [e.status for e in ended] == ["failed", "failed"]
    assert "its process died 3 times" in ended[0].told


def test_the_live_table_shows_every_state(spec_file, tmp_path):
    plan, folder, tasks = tasks_of(spec_file, tmp_path, seeds=1)
    run(tasks[0].config, tasks[0].path)
    console = Console(file=io.StringIO(), width=160)
    console.print(board(Watch(folder, folder.progress(plan))))
    shown = console.file.getvalue()
    assert all(run.name in shown for run in plan.runs)
    assert "3/3" in shown
    assert "1 done, 1 missing" in shown


# --- looks at runs that others write ------------------------------------------------------------


OPENED = []  # (path) of every file opened while a test counts; a hook of audit stays for good
IS_COUNTING = []
sys.addaudithook(
    lambda event, arguments: (
        OPENED.append(str(arguments[0])) if IS_COUNTING and event == "open" else None
    )
)


@pytest.fixture
def reads():
    """The names of the run files that were opened since the last question."""
    IS_COUNTING.append(True)

    def opened():
        names = [Path(path).name for path in OPENED]
        OPENED.clear()
        return [name for name in names if name.endswith((".json", ".jsonl", ".yaml"))]

    yield opened
    IS_COUNTING.clear()
    OPENED.clear()


def add_rows(path, *updates):
    with (path / "updates.jsonl").open("a") as file:
        file.writelines(json.dumps({"update": update}) + "\n" for update in updates)


def test_a_look_reads_nothing_of_a_run_that_did_not_change(spec_file, tmp_path, reads):
    plan, folder, tasks = tasks_of(spec_file, tmp_path, "run.max_updates=900", seeds=1)
    run(tasks[0].config, tasks[0].path, should_stop=lambda: True)  # interrupted at its first row
    before = folder.progress(plan)
    assert [(found.state, found.update) for _, found in before] == [
        ("unfinished", 0),
        ("missing", 0),
    ]
    watch = Watch(folder, before)
    watch.look()
    reads()
    assert [found for _, found in watch.look()] == [found for _, found in before]
    assert reads() == []


def test_of_a_run_that_changed_a_look_reads_the_last_row_alone(spec_file, tmp_path, reads):
    """Rows that no reader of all of them would take do not matter, however many there are."""
    plan, folder, tasks = tasks_of(spec_file, tmp_path, "run.max_updates=900", seeds=1)
    run(tasks[0].config, tasks[0].path, should_stop=lambda: True)
    watch = Watch(folder, folder.progress(plan))
    watch.look()
    with (tasks[0].path / "updates.jsonl").open("a") as file:
        file.write("no row\n" * 100_000)
    add_rows(tasks[0].path, 70, 71)
    reads()
    assert watch.look()[0][1].update == 71
    assert reads() == ["manifest.json", "updates.jsonl"]
    assert progress_of(plan.runs[0], tasks[0].path).state == "damaged"


def test_a_look_sees_a_run_begin_and_end(spec_file, tmp_path):
    plan, folder, tasks = tasks_of(spec_file, tmp_path, "run.max_updates=2", seeds=1)
    watch = Watch(folder, folder.progress(plan))
    seen = []

    def look():
        seen.append(watch.look()[0][1])
        return False

    run(tasks[0].config, tasks[0].path, should_stop=look)
    assert [(found.state, found.update) for found in seen] == [("running", u) for u in (0, 1, 2)]
    assert watch.look()[0][1] == progress_of(plan.runs[0], tasks[0].path)
    assert watch.look()[0][1].state == "done"
    longer = tasks_of(spec_file, tmp_path, "run.max_updates=3", seeds=1)[0]
    known = [
        (planned, found) for planned, (_, found) in zip(longer.runs, watch.look(), strict=True)
    ]
    assert folder.progress(longer)[0][1].state == "unfinished"
    assert Watch(folder, folder.progress(longer)).look()[0][1].state == "unfinished"
    assert Watch(folder, known).look()[0][1].state == "done"  # as it was told


def test_damage_stays_told_until_a_file_changes(spec_file, tmp_path):
    plan, folder, tasks = tasks_of(spec_file, tmp_path, "run.max_updates=1", seeds=1)
    run(tasks[0].config, tasks[0].path)
    config = (tasks[0].path / "config.yaml").read_text()
    (tasks[0].path / "config.yaml").write_text(config.replace("seed: 0", "seed: 1"))
    watch = Watch(folder, folder.progress(plan))
    assert watch.look()[0][1].state == "damaged"
    assert "a configuration that is not the one of the run" in watch.look()[0][1].told


@pytest.mark.parametrize(
    ("content", "update"),
    [
        ("", 0),
        ('{"update": 3', 0),
        ('{"update": 3}\n', 3),
        ('{"update": 3}\n{"upd', 3),
        ('{"update": 3}\n{"update": 4, "long": "' + "x" * 300_000 + '"}\n', 4),
        ("x" * 300_000 + '\n{"update": 5}\n{"update": 6, "lo', 5),
    ],
    ids=["empty", "cut", "one", "one and a half", "long", "tail"],
)
def test_the_last_whole_row_is_found_from_the_end(content, update, tmp_path):
    (tmp_path / "updates.jsonl").write_text(content)
    assert last_update(tmp_path / "updates.jsonl") == update


def test_a_last_row_that_nests_without_end_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "updates.jsonl").write_text("[" * 100_000 + "\n")
    with pytest.raises(RecordError, match=r"updates\.jsonl: values nested too deeply"):
        last_update(tmp_path / "updates.jsonl")


def test_a_run_that_an_earlier_release_named_is_found_by_what_it_is(spec_file, tmp_path):
    plan, folder, tasks = tasks_of(spec_file, tmp_path, "run.max_updates=1", seeds=1)
    former = f"{plan.runs[0].name[:-8]}01234567"
    run(tasks[0].config, folder.path / "runs" / former)
    shutil.copytree(  # the digits of another run behind the same words are not taken for it
        folder.path / "runs" / former, folder.path / "runs" / f"{plan.runs[1].name[:-8]}01234567"
    )
    assert [found.state for _, found in folder.progress(plan)] == ["done", "missing"]
    assert [reader.path.name for reader in folder.readers(plan)] == [former]
    assert folder.run_path(plan.runs[1]).name == plan.runs[1].name


def test_a_run_that_was_begun_for_longer_goes_on_as_long(spec_file, tmp_path):
    plan, folder, tasks = tasks_of(spec_file, tmp_path, "run.max_updates=4", seeds=1)
    stops = iter([False, False, True])
    run(tasks[0].config, tasks[0].path, should_stop=lambda: next(stops))
    _, _, shorter = tasks_of(spec_file, tmp_path, "run.max_updates=1", seeds=1)
    ended = start_or_resume(shorter[0], lambda: False)
    assert ended.status == "done", ended.told
    assert folder.progress(plan)[0][1].update == 4


def test_a_run_longer_than_asked_for_is_done(spec_file, tmp_path):
    _, folder, tasks = tasks_of(spec_file, tmp_path, seeds=1)
    for task in tasks:
        run(task.config, task.path)
    shorter, _, _ = tasks_of(spec_file, tmp_path, "run.max_updates=2", seeds=1)
    assert {found.state for _, found in folder.progress(shorter)} == {"done"}


def test_a_run_that_fails_does_not_stop_the_rest(spec_file, tmp_path):
    _, folder, tasks = tasks_of(spec_file, tmp_path, "run.max_updates=1")
    tasks[1].path.parent.mkdir(parents=True)
    tasks[1].path.write_text("in the way")
    ended = {e.name: e for e in run_locally(tasks, jobs=1, threads=1, logs=folder.logs)}
    assert ended[tasks[1].name].status == "failed"
    assert "already in use" in ended[tasks[1].name].told
    assert [e.status for e in ended.values()].count("done") == 3


@pytest.mark.parametrize(
    ("gpus", "jobs", "divided"),
    [
        (0, None, (1, 8)),
        (0, 4, (4, 2)),
        (0, 3, (3, 2)),
        (0, 16, (16, 1)),
        (2, None, (2, 4)),
        (2, 1, (1, 8)),
    ],
)
def test_the_machine_is_divided(gpus, jobs, divided, monkeypatch):
    """Eight threads; (jobs, threads of each), none of them with less than one thread."""
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    share = share_machine(jobs)
    assert (share.jobs, share.threads) == divided


def test_gpus_are_those_that_this_process_may_use(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert share_machine(None).devices == ("5", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert share_machine(None).devices == ("0", "1")
