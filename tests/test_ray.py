"""The Ray engine: the same bytes as the local one, whatever dies on the way."""

import json
import os
import signal
import threading
import time

import pytest
from test_run import untimed
from test_sweep import spec_file, tasks_of, write_spec

from collapse_lm.errors import UserError
from collapse_lm.sweeps.engines import run_locally
from collapse_lm.sweeps.engines.on_ray import run_on_ray

from commands import call

ray = pytest.importorskip("ray")
__all__ = ["spec_file"]
RUNS = int(os.environ.get("COLLAPSE_LM_RAY_RUNS", "2"))  # full size: 12
UPDATES = 80

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its pipes to the collector
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one processor each, on this machine."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 80_000_000}
    found = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, **memory},
    )
    found.second = found.add_node(num_cpus=1, **memory)
    yield found
    found.shutdown()


def test_a_worker_killed_and_a_node_removed_change_no_byte(cluster, spec_file, tmp_path):
    changes = (f"run.max_updates={UPDATES}", "collapse.stop=false", "run.checkpoint_every=20")
    _, _, tasks = tasks_of(spec_file, tmp_path, *changes, seeds=RUNS // 2)
    done = threading.Event()
    faults = []

    def kill_a_worker_then_remove_a_node():
        while not faults and not done.is_set():
            for task in tasks:
                rows = task.path / "updates.jsonl"
                if rows.is_file() and 25 < rows.read_text().count("\n") < UPDATES - 20:
                    manifest = json.loads((task.path / "manifest.json").read_text())
                    os.kill(manifest["process"], signal.SIGKILL)
                    faults.append(task.name)
                    break
            time.sleep(0.02)
        time.sleep(1)
        cluster.remove_node(cluster.second)
        faults.append("node")

    thread = threading.Thread(target=kill_a_worker_then_remove_a_node)
    thread.start()
    ended = list(run_on_ray(tasks, threads=1, address=cluster.address))
    done.set()
    thread.join()
    assert len(faults) == 2, "nothing was killed"
    assert {e.name: e.status for e in ended} == {task.name: "done" for task in tasks}
    victim = next(task for task in tasks if task.name == faults[0])
    assert json.loads((victim.path / "manifest.json").read_text())["resumed_after"]

    _, other, again = tasks_of(spec_file, tmp_path / "local", *changes, seeds=RUNS // 2)
    assert all(e.status == "done" for e in run_locally(again, jobs=2, threads=1, logs=other.logs))
    for here, there in zip(tasks, again, strict=True):
        assert untimed(here.path) == untimed(there.path)
        for name in (
            "samples.jsonl",
            "summary.json",
            f"checkpoints/u{UPDATES:06}/model.safetensors",
        ):
            assert (here.path / name).read_bytes() == (there.path / name).read_bytes()


def test_an_address_where_nothing_answers_is_told(spec_file, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    _, _, tasks = tasks_of(spec_file, tmp_path)
    with pytest.raises(UserError, match="a Ray cluster that answers"):
        list(run_on_ray(tasks, threads=1, address="auto"))


def test_a_stop_ends_runs_after_their_update_with_a_checkpoint(cluster, spec_file, tmp_path):
    changes = ("run.max_updates=100000", "collapse.stop=false")
    _, folder, tasks = tasks_of(spec_file, tmp_path, *changes)

    def has_begun():
        return any(path.stat().st_size > 5000 for path in folder.path.glob("runs/*/updates.jsonl"))

    ended = list(run_on_ray(tasks, threads=1, address=cluster.address, should_stop=has_begun))
    assert {e.status for e in ended} == {"stopped"}
    assert len(ended) == len(tasks)
    assert list(folder.path.glob("runs/*/checkpoints/u*"))
    assert not list(folder.path.glob("runs/.stop*"))


def test_a_run_that_fits_no_node_is_told(cluster, spec_file, tmp_path, caplog):
    _, _, tasks = tasks_of(spec_file, tmp_path, "run.max_updates=1", seeds=1)
    has_told = lambda: "no node" in caplog.text  # noqa: E731
    ended = list(run_on_ray(tasks, threads=64, address=cluster.address, should_stop=has_told))
    assert [(e.status, e.told) for e in ended] == [("stopped", "not begun")] * len(tasks)
    assert "no node of the cluster has the 64 processors" in caplog.text


def test_the_command_runs_on_a_ray_of_its_own(tiny_overrides, tmp_path):
    spec_file = write_spec(tiny_overrides, tmp_path / "spec.yaml", seeds=1)
    words = ("--engine", "ray", "--threads", 1, "--out", tmp_path / "out")
    done = call("sweep", spec_file, *words, "--set", "run.max_updates=1", RAY_AUTH_MODE="disabled")
    assert done.returncode == 0, done.stderr
    assert "this time: 2 done" in done.stdout
    refused = call("sweep", spec_file, *words, "--jobs", 2)
    assert (refused.returncode, "--threads says" in refused.stderr) == (2, True)
