"""The Ray engine: the same bytes as the local one, whatever dies on the way."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from test_run import untimed
from test_sweep import spec_file, tasks_of, write_spec

from collapse_lm.config import load_config
from collapse_lm.config.handing import with_overrides
from collapse_lm.config.parts import OBJECTIVES, OPTIMIZERS, SOURCES
from collapse_lm.errors import UserError
from collapse_lm.sweeps.engines import Task, run_locally
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


@contextmanager
def nodes(count):
    """A cluster of so many nodes of one processor each, on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        memory = {"object_store_memory": 80_000_000}
        found = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False, **memory},
        )
        others = [found.add_node(num_cpus=1, **memory) for _ in range(count - 1)]
        yield found, others
        found.shutdown()


@pytest.fixture(scope="module")
def cluster():
    """One that tests share, as none of them harms it."""
    with nodes(2) as (found, _):
        yield found


@pytest.fixture
def fragile_cluster():
    """One of its own for a test, and its second node."""
    with nodes(2) as (found, (second,)):
        yield found, second


def test_a_worker_killed_and_a_node_removed_change_no_byte(fragile_cluster, spec_file, tmp_path):
    cluster, second = fragile_cluster
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
        cluster.remove_node(second)
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


# --- every part ----------------------------------------------------------------------------------

OWN = {"kind": "own"}
TERM = {"weight": 0.2}
PARTS = {  # each kind of each place, and what is no part: schedules, average, adapters
    "own": (OWN, {"kind": "nll"}, {"kind": "adamw", "betas": [0.8, 0.9]}, {}),
    "frozen": (
        {"kind": "frozen"},
        {"kind": "label_smoothing", "smoothing": 0.2},
        {"kind": "sgd", "momentum": 0.5},
        {"schedule": {"kind": "linear", "updates": 4, "warmup": 1}},
    ),
    "random": (
        {"kind": "real", "corpus": "TEXT"},
        {"kind": "truncated_nll", "threshold": 0.004, "control": "random"},
        {"kind": "fresh"},
        {"schedule": {"kind": "cosine", "updates": 4, "final": 0.1}},
    ),
    "stream": (
        {"kind": "real", "corpus": "TEXT", "order": "stream"},
        {"kind": "truncated_nll", "threshold": 0.004},
        {"kind": "random", "of": {"kind": "sgd"}},
        {"schedule": {"kind": "inverse_sqrt", "warmup": 2}},
    ),
    "shuffled": (
        {"kind": "shuffled", "of": OWN},
        {"kind": "kl_to_base", **TERM},
        {"kind": "decay_to_base", "rate": 0.1},
        {},
    ),
    "mix": (
        {"kind": "mix", "of": OWN, "real": {"corpus": "TEXT"}, "share": 0.5},
        {"kind": "kl_to_base", **TERM, "direction": "forward"},
        {"kind": "adamw"},
        {"ema": {"decay": 0.5}},
    ),
    "replay": (
        {"kind": "replay", "of": OWN, "share": 0.5, "last": 2},
        {"kind": "entropy_bonus", **TERM},
        {"kind": "adamw"},
        {"lora": {"rank": 2}},
    ),
    "filter": (
        {"kind": "filter", "of": OWN, "least_perplexity": 100, "most_draws": 3},
        {"kind": "entropy_bonus", **TERM, "adaptive": {"target": 5.0}},
        {"kind": "sgd"},
        {"ema": {"decay": 0.5, "sample": False}},
    ),
    "nested": (
        {
            "kind": "replay",
            "of": {"kind": "shuffled", "of": {"kind": "filter", "of": {"kind": "frozen"}}},
            "share": 0.5,
        },
        {"kind": "unlikelihood", "weight": 0.5, "of": {"kind": "label_smoothing"}},
        {"kind": "fresh", "of": {"kind": "decay_to_base", "rate": 0.1}},
        {"lora": {"rank": 2}, "ema": {"decay": 0.9}},
    ),
    "generations": (
        {"kind": "generations", "real": {"corpus": "TEXT"}, "texts": 4},
        {"kind": "nll"},
        {"kind": "krause", "corpus": "TEXT", "batches": 2},
        {},
    ),
}


def kinds_in(tree):
    """Every kind that a configuration of a part names, those within it too."""
    within = [kinds_in(value) for value in tree.values() if isinstance(value, dict)]
    return {tree["kind"]} | set().union(*within) if "kind" in tree else set().union(*within)


def run_of_parts(name, tiny_overrides, prose_file):
    source, objective, optimizer, training = PARTS[name]
    parts = {"source": source, "objective": objective, "training.optimizer": optimizer}
    text = json.dumps(parts)
    places = json.loads(text.replace("TEXT", f"text:{prose_file}"))
    settings = {f"training.{key}": value for key, value in training.items()}
    config = load_config("quickstart", [*tiny_overrides, "run.max_updates=4", "run.report=false"])
    few = {"sampling.max_new_tokens": 16, "sampling.batch_size": 2, "observers": []}
    return with_overrides(config, {**few, **places, **settings})


def test_every_part_gives_the_same_rows_on_ray_and_locally(
    cluster, tiny_overrides, prose_file, tmp_path
):
    pytest.importorskip("peft")
    for slot, place in ((SOURCES, 0), (OBJECTIVES, 1), (OPTIMIZERS, 2)):
        used = set().union(*(kinds_in(parts[place]) for parts in PARTS.values()))
        assert {kind for kind in slot.kinds() if ":" not in kind} == used
    configs = {name: run_of_parts(name, tiny_overrides, prose_file) for name in PARTS}

    def tasks(folder):
        return [Task(name, config, tmp_path / folder / name) for name, config in configs.items()]

    there, here = tasks("ray"), tasks("local")
    ended = [
        *run_on_ray(there, threads=1, address=cluster.address),
        *run_locally(here, jobs=1, threads=1, logs=tmp_path / "logs"),
    ]
    assert [(one.name, one.told) for one in ended if one.status != "done"] == []
    for one, other in zip(there, here, strict=True):
        assert len(untimed(one.path)) == 5
        assert untimed(one.path) == untimed(other.path)
        for name in ("samples.jsonl", "summary.json"):
            assert (one.path / name).read_bytes() == (other.path / name).read_bytes()
