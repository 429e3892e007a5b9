"""The number of threads: tried before a run, recorded, and kept at a resume."""

import pytest
import torch

import collapse_lm
from collapse_lm import RunReader, UserError
from collapse_lm.config import load_config
from collapse_lm.experiment import threads
from collapse_lm.experiment.build import prepare
from collapse_lm.experiment.threads import candidates, fewest_clearly_faster, threads_for

from conftest import save, tiny_gpt2


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_all_and_fewer_are_tried():
    assert candidates(1) == [1]
    assert candidates(2) == [2, 1]
    assert candidates(16) == [16, 15, 8]


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({2: (1.0, 1.0), 1: (0.7, 1.9)}, 2),  # a quiet machine
        ({2: (2.3, 5.4), 1: (1.4, 2.6)}, 1),  # beside one busy process
        ({2: (1.0, 1.0), 1: (0.95, 0.95)}, 2),  # within noise
        ({4: (1.0, 1.0), 3: (0.5, 0.6), 2: (0.4, 0.5)}, 2),
    ],
)
def test_fewer_are_taken_only_where_clearly_faster(times, chosen):
    assert fewest_clearly_faster(times) == chosen


def test_a_trial_runs_and_the_threads_are_put_back(two_threads, tiny_overrides):
    parts = prepare(load_config("quickstart", tiny_overrides))
    before = [p.clone() for p in parts.model.network.parameters()]
    with threads_for("auto", parts):
        assert torch.get_num_threads() in (1, 2)
    assert torch.get_num_threads() == 2
    assert all(map(torch.equal, before, parts.model.network.parameters()))
    assert all(p.grad is None for p in parts.model.network.parameters())


def test_a_trial_asks_for_no_more_positions_than_a_model_has(two_threads, tiny_overrides, tmp_path):
    network = tiny_gpt2(positions=24)
    network.config.activation_function = "relu"  # so that passes are those of transformers
    words = [*tiny_overrides, f"model={save(network, tmp_path / 'model')}"]
    words += ["evaluation.context=24", "sampling.max_new_tokens=20"]
    with threads_for("auto", prepare(load_config("quickstart", words))):
        assert torch.get_num_threads() in (1, 2)


def test_what_was_chosen_is_recorded_and_told(
    two_threads, tiny_overrides, tmp_path, monkeypatch, caplog
):
    times = {2: (2.0, 5.0), 1: (1.0, 2.0)}
    monkeypatch.setattr(threads, "_trial", lambda parts: times[torch.get_num_threads()])
    words = [*tiny_overrides, "run.max_updates=1"]
    run = collapse_lm.run("quickstart", tmp_path / "r", overrides=words).directory
    assert RunReader(run).manifest()["threads"] == 1
    assert "1 of 2 threads" in caplog.text
    asked = collapse_lm.run(
        "quickstart", tmp_path / "asked", overrides=[*words, "run.threads=2"]
    ).directory
    assert RunReader(asked).manifest()["threads"] == 2


def test_a_run_of_a_sweep_has_the_threads_that_it_is_given(tiny_overrides, tmp_path):
    fixed = dict(word.split("=", 1) for word in tiny_overrides)
    fixed["evaluation.corpora"] = [fixed["evaluation.corpora"].strip("[]")]
    spec = {"base": "quickstart", "set": {**fixed, "run.max_updates": 1}, "seeds": [0]}
    (run,) = collapse_lm.sweep(spec, tmp_path / "s", threads=2).runs
    assert RunReader(run.path).manifest()["threads"] == 2


def test_a_number_that_is_none_is_told(tiny_overrides):
    for word in ("0", "many", "true"):
        with pytest.raises(UserError, match=r"run\.threads"):
            load_config("quickstart", [f"run.threads={word}"])


def test_a_resume_with_other_threads_says_that_they_change_nothing(
    tiny_overrides, tmp_path, caplog
):
    words = [*tiny_overrides, "run.max_updates=2", "run.checkpoint_every=2", "run.threads=1"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    collapse_lm.resume(tmp_path / "r", overrides=["run.threads=2", "run.max_updates=3"])
    assert "run.threads=2 changes nothing: the run began with 1" in caplog.text
    assert RunReader(tmp_path / "r").manifest()["threads"] == 1
