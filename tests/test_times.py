"""Times: of which processor they are, and what other work makes of them."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from collapse_lm.cli.sweep import show_estimate
from collapse_lm.machine import processor as machine
from collapse_lm.machine.processor import Estimate, OtherWork, told_if_busy
from collapse_lm.pretraining.estimate import sizes_to_make, training_time
from collapse_lm.pretraining.recipe import Recipe

from commands import call


@pytest.fixture
def clocks(monkeypatch):
    """A machine of two cores whose clocks are set by hand."""
    now = SimpleNamespace(wall=100.0, own=5.0, cores=[10.0, 10.0])

    def of_core(seconds):
        return SimpleNamespace(user=seconds - 3, system=2.0, steal=1.0, idle=9e9)

    monkeypatch.setattr(machine, "_cores", lambda: [0, 1])
    monkeypatch.setattr(machine.psutil, "cpu_times", lambda percpu: [*map(of_core, now.cores)])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now.wall)
    monkeypatch.setattr(machine.time, "process_time", lambda: now.own)
    monkeypatch.setattr(machine.torch, "get_num_threads", lambda: 2)
    return now


@pytest.mark.parametrize(("others", "told"), [(0.1, None), (1.5, "1.5 of 2 cores")])
def test_what_other_work_takes_is_what_is_busy_and_not_ours(others, told, clocks):
    work = OtherWork()
    clocks.wall += 10
    clocks.own += 10 * (2 - others)
    clocks.cores = [20.0, 20.0]
    assert work.cores() == pytest.approx(others)
    warning = work.estimate(60.0).warning
    assert (warning is None) if told is None else told in warning


def test_cores_that_nobody_needs_are_no_loss(monkeypatch):
    monkeypatch.setattr(machine, "_cores", lambda: list(range(8)))
    monkeypatch.setattr(machine.torch, "get_num_threads", lambda: 2)
    assert told_if_busy(5.0) is None
    assert told_if_busy(7.0) is not None


def test_work_of_another_process_is_seen_and_ours_is_not():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        work = OtherWork()
        beside = work.cores()
    finally:
        busy.kill()
        busy.wait()
    assert beside > 0.2


def test_an_estimate_names_its_processor_and_warns(capsys):
    show_estimate("3 runs:", Estimate(3 * 3600 + 61, "Some processor (AVX2)", "it is late"))
    told = capsys.readouterr().out
    assert "3 runs: about 3 h 01 min, measured now on Some processor (AVX2)" in told
    assert "warning: it is late" in told


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (41, "41 s"), (99, "1 min 39 s"), (700, "0 h 12 min")]
)
def test_a_short_time_is_told_in_seconds(seconds, words, capsys):
    show_estimate("6 runs:", Estimate(seconds, "Some processor", ""))
    assert f"6 runs: about {words}, measured" in capsys.readouterr().out


def test_models_that_come_first_have_their_own_estimate(tmp_path):
    recipe = Recipe(sizes=("32x1", "64x1"), vocabulary=300, context=16, tokens=16 * 8 * 50)
    (tmp_path / "64x1").mkdir()
    sizes = sizes_to_make(recipe, tmp_path)
    assert [str(size) for size in sizes] == ["32x1"]
    one = training_time(recipe, sizes).seconds
    assert 0 < one < 60
    more = recipe.model_copy(update={"tokens": 100 * recipe.tokens})
    assert training_time(more, sizes).seconds > 5 * one


def test_a_dry_run_of_a_reproduction_tells_the_time_of_its_ladder(tmp_path):
    out = tmp_path / "out"
    done = call("reproduce", "fig3", "--seeds", 1, "--out", out, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "5 models first (32x2, 64x3, 128x4, 192x4, 256x5): about" in done.stdout
    assert "runs, measured once their models are made" in done.stdout
    assert not out.exists()
