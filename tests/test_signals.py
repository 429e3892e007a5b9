"""A terminal that is closed ends work as a request does, unless it was to outlive it."""

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest

from collapse_lm.cli.stopping import StopRequest
from collapse_lm.rundir import RunReader

from commands import command, settings

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP")
LONG = ["run.max_updates=100000", "collapse.stop=false", "sampling.max_new_tokens=12"]


@contextmanager
def started(*words, hangup=signal.SIG_DFL, **options):
    def in_child():
        signal.signal(signal.SIGHUP, hangup)  # whatever the tests themselves were started with

    process = subprocess.Popen(
        command(*words), start_new_session=True, preexec_fn=in_child, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_rows(folder, number, seconds=60):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        for rows in folder.rglob("updates.jsonl"):
            if rows.read_text().count("\n") >= number:
                return rows.parent
        time.sleep(0.02)
    raise AssertionError("the run did not get there")


def newest_checkpoint(path):
    return max(int(place.name[1:]) for place in (path / "checkpoints").glob("u*"))


def test_a_closed_terminal_ends_a_run_with_a_checkpoint(tiny_overrides, tmp_path):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    words = ("run", "quickstart", "--out", tmp_path / "r", *settings([*tiny_overrides, *LONG]))
    with started(*words, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.set_blocking(ours, False)
        while not (tmp_path / "r" / "samples.jsonl").is_file() or not _rows(tmp_path / "r"):
            _drain(ours)
        os.close(ours)  # from now on what is printed there raises
        os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(timeout=60) == 129
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert newest_checkpoint(tmp_path / "r") == RunReader(tmp_path / "r").updates()[-1].update


def _rows(path):
    return (path / "updates.jsonl").read_text().count("\n") > 5


def _drain(terminal):
    try:
        os.read(terminal, 65536)
    except OSError:  # nothing there, or nobody yet
        time.sleep(0.02)


def test_a_run_that_shall_outlive_its_terminal_does(tiny_overrides, tmp_path):
    words = settings([*tiny_overrides, *LONG, "run.max_updates=60"])
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    out = ("run", "quickstart", "--out", tmp_path / "r")
    with started(*out, *words, hangup=signal.SIG_IGN, **nowhere) as process:
        wait_for_rows(tmp_path, 3)
        os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(timeout=60) == 0
    assert RunReader(tmp_path / "r").updates()[-1].update == 60


def test_a_closed_terminal_ends_a_sweep_with_checkpoints(tiny_overrides, tmp_path):
    spec = tmp_path / "spec.yaml"
    fixed = dict(word.split("=", 1) for word in [*tiny_overrides, *LONG])
    lines = "".join(f"  {key}: {value}\n" for key, value in fixed.items())
    spec.write_text(f"base: quickstart\nset:\n{lines}seeds: 2\n")
    words = ("sweep", spec, "--out", tmp_path / "out")
    with started(*words, stdout=subprocess.PIPE, text=True) as process:
        path = wait_for_rows(tmp_path / "out", 5)
        os.killpg(process.pid, signal.SIGHUP)  # its workers get it too
        printed = process.communicate(timeout=60)[0]
    assert process.returncode == 129
    assert "1 stopped" in printed
    assert newest_checkpoint(path) == RunReader(path).updates()[-1].update


def test_that_a_terminal_is_closed_may_be_told_twice():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with StopRequest() as stop:
            assert not stop()
            for _ in range(3):  # of the shell and of the system; a second SIGTERM ends at once
                os.kill(os.getpid(), signal.SIGHUP)
            assert stop()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)
