"""Sweeps: what a file stands for, that only what is missing is done, and what can go wrong."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import time

import pytest
import yaml
from rich.console import Console
from test_resume import wait_for_rows
from test_run import untimed

from collapse_lm.cli.sweep import Board
from collapse_lm.config import load_config
from collapse_lm.errors import UserError
from collapse_lm.rundir.session import run
from collapse_lm.sweeps import (
    SweepFolder,
    SweepSpec,
    load_sweep,
    plan_sweep,
    state_of,
    sweep_names,
    with_overrides,
)
from collapse_lm.sweeps.engines import Task, run_locally
from collapse_lm.sweeps.engines.share import share_machine

from commands import call, command


@pytest.fixture
def spec_file(tiny_overrides, tmp_path):
    """A sweep of two rates and two seeds over the tiny run, three updates each."""
    fixed = dict(word.split("=", 1) for word in tiny_overrides)
    fixed["evaluation.corpora"] = fixed["evaluation.corpora"].strip("[]")
    del fixed["training.learning_rate"]
    tree = {
        "base": "quickstart",
        "set": {**fixed, "run.max_updates": 3},
        "grid": {"training.learning_rate": [1e-3, 3e-3]},
        "seeds": 2,
    }
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(tree))
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


# --- doing ------------------------------------------------------------------------------------


def test_a_sweep_does_every_run_as_run_does_it_and_then_nothing(spec_file, tmp_path):
    out = tmp_path / "out"
    planned = call("sweep", spec_file, "--out", out, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "4 runs, 4 to do: at most about 0 h" in planned.stdout
    assert not out.exists()
    first = call("sweep", spec_file, "--out", out, "--jobs", 2)
    assert first.returncode == 0, first.stderr
    assert "this time: 4 done" in first.stdout
    for path in runs_of(out):
        alone = run(load_config(path / "config.yaml"), tmp_path / path.name).directory
        assert untimed(alone) == untimed(path)
    listed = call("ls", tmp_path).stdout
    assert f"sweep {out}: 4 runs: 4 done" in listed
    assert "0.003" in listed
    again = call("sweep", spec_file, "--out", out)
    assert "4 runs, 4 done before" in again.stdout
    assert "nothing to do" in again.stdout
    longer = call("sweep", spec_file, "--out", out, "--set", "run.max_updates=5")
    assert "this time: 4 done" in longer.stdout
    assert [untimed(path)[-1]["update"] for path in runs_of(out)] == [5] * 4


@pytest.mark.parametrize(
    ("grid", "figures"),
    [
        ({"training.learning_rate": [1e-3, 3e-3]}, {"figure2", "survival"}),
        (
            {"training.learning_rate": [1e-3, 3e-3], "sampling.temperature": [0.8, 1.0]},
            {"phase"},
        ),
        ({"sampling.top_k": [5, 50]}, None),
    ],
    ids=["rates", "phase", "other"],
)
def test_a_sweep_shows_what_its_runs_did(grid, figures, spec_file, tmp_path):
    tree = yaml.safe_load(spec_file.read_text()) | {"grid": grid, "seeds": 1}
    tree["set"]["run.max_updates"] = 2
    spec_file.write_text(yaml.safe_dump(tree))
    done = call("sweep", spec_file, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "out" / "tables" / "runs.csv").read_text().splitlines()
    runs = 1
    for values in grid.values():
        runs *= len(values)
    assert len(rows) == 1 + runs
    if figures is None:
        assert not (tmp_path / "out" / "figures").exists()
        assert "claims" not in done.stdout
    else:
        assert {path.stem for path in (tmp_path / "out" / "figures").glob("*.svg")} == figures
        assert (tmp_path / "out" / "claims.md").is_file()


def test_a_killed_sweep_finishes_only_what_is_missing(spec_file, tmp_path):
    out = tmp_path / "out"
    words = ("sweep", spec_file, "--out", out, "--set", "run.max_updates=150")
    words += ("--set", "collapse.stop=false", "--set", "run.checkpoint_every=10")
    with subprocess.Popen(command(*words), start_new_session=True) as process:
        limit = time.monotonic() + 120
        while not any(out.glob("runs/*/summary.json")) and time.monotonic() < limit:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    done_before = {path: (path / "manifest.json").read_bytes() for path in runs_of(out)}
    done_before = {p: b for p, b in done_before.items() if b'"finished"' in b}
    again = call(*words)
    assert again.returncode == 0, again.stderr
    assert "this time: " in again.stdout
    assert len(runs_of(out)) == 4
    for path, manifest in done_before.items():
        assert (path / "manifest.json").read_bytes() == manifest
    for path in runs_of(out):
        assert untimed(path)[-1]["update"] == 150


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
        wait_for_rows(found[0].parent, 5)
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
    changes = ("run.max_updates=60", "collapse.stop=false", "run.checkpoint_every=10")
    plan, folder, tasks = tasks_of(spec_file, tmp_path, *changes)
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
    assert {state_of(r, folder.run_path(r)).progress for r in plan.runs} == {"done"}


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
    assert [e.status for e in run_locally(tasks[:1], jobs=1, threads=1, logs=folder.logs)] == [
        "done"
    ]
    console = Console(file=io.StringIO(), width=160)
    console.print(Board(plan, folder).table())
    shown = console.file.getvalue()
    assert all(run.name in shown for run in plan.runs)
    assert "3/3" in shown
    assert "1 done, 1 missing" in shown


def test_a_run_longer_than_asked_for_is_done(spec_file, tmp_path):
    _, folder, tasks = tasks_of(spec_file, tmp_path, seeds=1)
    assert all(e.status == "done" for e in run_locally(tasks, jobs=1, threads=1, logs=folder.logs))
    shorter, _, _ = tasks_of(spec_file, tmp_path, "run.max_updates=2", seeds=1)
    assert {state.progress for _, state in folder.states(shorter)} == {"done"}


def test_a_run_that_fails_does_not_stop_the_rest(spec_file, tmp_path):
    _, folder, tasks = tasks_of(spec_file, tmp_path)
    tasks[1].path.parent.mkdir(parents=True)
    tasks[1].path.write_text("in the way")
    ended = {e.name: e for e in run_locally(tasks, jobs=2, threads=1, logs=folder.logs)}
    assert ended[tasks[1].name].status == "failed"
    assert "already in use" in ended[tasks[1].name].told
    assert [e.status for e in ended.values()].count("done") == 3


def test_the_machine_is_divided(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    one, four = share_machine(None), share_machine(4)
    assert (one.jobs, one.threads) == (max(1, len(one.devices)), 8 // max(1, len(one.devices)))
    assert (four.jobs, four.threads) == (4, 2)


def test_gpus_are_those_that_this_process_may_use(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert share_machine(None).devices == ("5", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert share_machine(None).devices == ("0", "1")
