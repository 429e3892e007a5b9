"""Two processes that train one model: one record, one decision, and no deadlock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from collapse_lm.monitor.processes import Processes, Word, sharding_of
from collapse_lm.rundir import RunReader

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each of two processes told of each training: one launch for all."""
    folder = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    # what starts several processes on one machine is called so; the script asks for the CPU
    more = [
        "--multi_gpu",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    more += ["--num_cpu_threads_per_process", "1", "--main_process_port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *more, str(SCRIPT), str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    files = [folder / f"told-{rank}.jsonl" for rank in (0, 1)]
    lines = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    found = {name: [] for name in ("sound", "stops", "first fails", "second fails", "refused")}
    for line in sorted(lines, key=lambda line: line["rank"]):
        found[line["name"]].append(line)
    return folder, found


def test_there_is_one_record_by_the_first_process(told):
    folder, found = told
    assert [line["rank"] for line in found["sound"]] == [0, 1]
    assert [line["steps"] for line in found["sound"]] == [12, 12]
    rows = RunReader(folder / "sound").updates()
    assert [row.update for row in rows if "text.loop_share" in row.values] == [0, 4, 8, 12]
    assert not (folder / "runs").exists()


def test_all_processes_end_at_the_same_step(told):
    _, found = told
    steps = {line["steps"] for line in found["stops"]}
    assert len(steps) == 1
    assert steps.pop() < 12


@pytest.mark.parametrize(
    ("name", "by"), [("first fails", "the first"), ("second fails", "the second")]
)
def test_a_failure_in_one_process_is_told_once_and_all_train_on(told, name, by):
    _, found = told
    assert [line["steps"] for line in found[name]] == [12, 12]
    (message,) = [message for line in found[name] for message in line["told"]]
    assert f"RuntimeError: {by}" in message


def test_a_record_whose_monitor_was_switched_off_says_so(told):
    folder, _ = told
    assert RunReader(folder / "first").manifest()["status"] == "failed"
    assert RunReader(folder / "second").manifest()["status"] == "failed"


def test_what_the_first_process_refuses_no_process_trains_with(told):
    folder, found = told
    first, second = found["refused"]
    assert "max_new_tokens" in first["told"]
    assert "refused by the first process" in second["told"]
    assert not (folder / "refused").exists()


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Two(Processes):
    """Processes whose other one brings a word that is given."""

    other = Word()

    def _agree(self, word):
        return word


@pytest.mark.parametrize(
    ("seconds", "every", "steps"),
    [
        (0.001, None, [1, 1001]),  # short steps: about a second apart, and a thousand steps at most
        (0.3, None, [1, 4, 7]),
        (5.0, None, [1, 2, 3]),  # long steps: at each
        (0.01, 4, [1, 4, 8, 12]),  # no probe is missed
    ],
)
def test_processes_meet_about_once_a_second(seconds, every, steps):
    clock = Clock()
    processes = Two(size=2, clock=clock)
    processes.meet(0, Word(), every=every)
    met = []
    for step in range(1, steps[-1] + 1):
        clock.now += seconds
        if processes.meets(step):
            met.append(step)
            processes.meet(step, Word(), every=every)
    assert met == steps


def test_a_process_alone_meets_itself_at_each_step():
    alone = Processes()
    for step in range(3):
        assert alone.meets(step)
        word = Word(failed=1, is_refused=True, stop=True)
        assert alone.meet(step, word) == word
    assert alone.is_first_of(alone.failure)


def test_of_several_failures_that_of_the_first_process_is_told():
    three = [Processes(rank, 3) for rank in range(3)]
    failed = max(three[1].failure, three[2].failure)
    assert [process.is_first_of(failed) for process in three] == [False, True, False]


def test_sharded_weights_are_known_by_their_marks():
    import torch

    class FullyShardedDataParallel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 2)

    plain, zero, mesh = (torch.nn.Linear(2, 2) for _ in range(3))
    zero.weight.ds_id = 3
    mesh.weight.device_mesh = object()
    assert sharding_of(plain) is None
    assert sharding_of(FullyShardedDataParallel()) == "FSDP"
    assert sharding_of(zero) == "DeepSpeed ZeRO-3"
    assert sharding_of(mesh) == "FSDP or tensor parallelism"
