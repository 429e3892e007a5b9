"""What a run's shell promises: nothing is ignored, nothing is lost, nothing is done twice."""

import math
import shutil

import pytest
import torch

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.config.parts import AdamW
from collapse_lm.errors import UserError
from collapse_lm.experiment import build
from collapse_lm.experiment.learner import train_step
from collapse_lm.experiment.optimizer import make_optimizer
from collapse_lm.experiment.segments import Segment
from collapse_lm.machine.compute import Compute
from collapse_lm.rundir import RunReader, checkpoints
from collapse_lm.rundir.session import resume, run

from conftest import tiny_gpt2

CPU32 = Compute(torch.device("cpu"), "float32")


def do(tiny_overrides, out, *more, **options):
    return run("quickstart", out, overrides=[*tiny_overrides, *more], **options)


def test_overrides_of_a_configuration_count(tiny_overrides, tmp_path):
    config = load_config("quickstart", tiny_overrides)
    result = run(config, tmp_path / "r", overrides=["run.max_updates=2", "seed=5"])
    assert result.summary["updates"] == 2
    assert RunReader(tmp_path / "r").manifest()["seed"] == 5
    with pytest.raises(UserError, match="an unknown key"):
        run(config, tmp_path / "s", overrides=["seeed=5"])


def test_each_corpus_is_read_once(tiny_overrides, tmp_path, monkeypatch):
    read = []
    load = build.load_corpus
    monkeypatch.setattr(build, "load_corpus", lambda name: read.append(name) or load(name))
    do(tiny_overrides, tmp_path / "r", "run.max_updates=1")
    assert len(read) == 1


# --- a resume ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extendable(tiny_overrides, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "r"
    do(tiny_overrides, path, "run.max_updates=4", "run.checkpoint_every=2")
    return path


@pytest.fixture
def copied(extendable, tmp_path):
    return shutil.copytree(extendable, tmp_path / "r")


class Killer:
    """Ends the process in update 4, after its row, before its checkpoint."""

    def start(self, run): ...

    def update(self, record):
        if record.update == 4:
            raise KeyboardInterrupt

    def end(self, summary): ...


def test_a_checkpoint_that_does_not_fit_costs_no_row(tiny_overrides, tmp_path, monkeypatch):
    def refuse(checkpoint, state):
        raise ValueError("its parameters are not those of the model")

    path = tmp_path / "r"
    with pytest.raises(KeyboardInterrupt):
        do(tiny_overrides, path, "run.checkpoint_every=2", observers=[Killer()])
    before = {name: (path / name).read_bytes() for name in ("updates.jsonl", "samples.jsonl")}
    assert len(RunReader(path).updates()) == 5
    monkeypatch.setattr(checkpoints, "restore", refuse)
    with pytest.raises(UserError, match="not those of the model"):
        resume(path)
    assert {name: (path / name).read_bytes() for name in before} == before
    monkeypatch.undo()
    assert resume(path).summary["updates"] == 6
    assert RunReader(path).manifest()["resumed_after"] == [2]


def test_a_resume_takes_precision_and_threads_from_the_manifest(
    tiny_overrides, tmp_path, monkeypatch
):
    words = [word for word in tiny_overrides if not word.startswith("precision")]
    monkeypatch.setattr("collapse_lm.machine.compute.has_bfloat16", lambda device: True)
    torch.set_num_threads(2)
    try:
        do(words, tmp_path / "r", "run.max_updates=2", "run.checkpoint_every=2", "run.threads=2")
    finally:
        torch.set_num_threads(1)
    assert RunReader(tmp_path / "r").manifest()["precision"] == "bfloat16"
    monkeypatch.setattr("collapse_lm.machine.compute.has_bfloat16", lambda device: False)
    seen = []

    class Threads:
        def start(self, run): ...

        def update(self, record):
            seen.append(torch.get_num_threads())

        def end(self, summary): ...

    resume(tmp_path / "r", overrides=["run.max_updates=4"], observers=[Threads()])
    assert seen == [2, 2]
    assert torch.get_num_threads() == 1
    assert RunReader(tmp_path / "r").manifest()["precision"] == "bfloat16"


def test_keys_that_decide_no_number_may_change_at_a_resume(copied):
    words = ["run.max_updates=5", "observers=[]", "run.checkpoints_kept=1", "run.export_model=true"]
    resume(copied, overrides=words)
    assert (copied / "model" / "config.json").is_file()
    written = load_config(copied / "config.yaml")
    assert written.observers == ()
    assert resume(copied).summary["updates"] == 5


@pytest.mark.parametrize(
    "word", ["seed=3", "probe.every=2", "measures=[overlap]", "precision=auto"]
)
def test_keys_that_do_may_not(word, copied):
    with pytest.raises(UserError, match="as the run began"):
        resume(copied, overrides=["run.max_updates=5", word])


# --- the time of a run -------------------------------------------------------------------------


def test_a_run_ends_with_its_minutes_and_goes_on_with_more(tiny_overrides, tmp_path):
    whole = do(tiny_overrides, tmp_path / "whole", "evaluation.every=4")
    words = ["run.max_minutes=1e-6", "evaluation.every=4"]
    short = do(tiny_overrides, tmp_path / "r", *words)
    assert short.summary["reason"] == "censored: reached run.max_minutes"
    assert short.summary["updates"] == 1
    assert short.summary["validation"]["end"]["update"] == 1  # evaluated also between
    assert resume(tmp_path / "r").summary["updates"] == 1  # nothing to do
    more = resume(tmp_path / "r", overrides=["run.max_minutes=null"])
    assert more.summary["updates"] == 6
    samples = [
        (path / "samples.jsonl").read_bytes() for path in (tmp_path / "r", tmp_path / "whole")
    ]
    assert samples[0] == samples[1]
    assert RunReader(tmp_path / "r").manifest()["resumed_after"] == [1]
    assert whole.summary["train_loss"] == more.summary["train_loss"]


def test_a_run_cut_by_its_minutes_in_the_aftermath_of_its_collapse_goes_on(
    tiny_overrides, tmp_path
):
    words = ["collapse.train_loss=1e9", "collapse.patience=1", "collapse.aftermath=3"]
    short = do(tiny_overrides, tmp_path / "r", *words, "run.max_minutes=1e-6")
    assert (short.summary["collapse_update"], short.summary["updates"]) == (1, 1)
    more = resume(tmp_path / "r", overrides=["run.max_minutes=null"])
    assert more.summary["updates"] == 4
    assert RunReader(tmp_path / "r").manifest()["resumed_after"] == [1]
    assert resume(tmp_path / "r", overrides=["run.max_updates=9"]).summary["updates"] == 4


# --- steps -------------------------------------------------------------------------------------


def test_a_step_that_is_withheld_later_in_an_update_is_told_with_its_own_numbers(
    tiny_overrides, tmp_path
):
    words = ["training.steps_per_update=3", "training.learning_rate=1e30"]
    result = do(tiny_overrides, tmp_path / "r", *words)
    row = RunReader(tmp_path / "r").updates()[1]
    assert result.summary["status"] == "diverged"
    assert row.values["train.applied"] == 0
    assert row.values["train.steps"] == 1  # the first was applied
    assert not math.isfinite(row.get("train.loss"))


class Plain(AdamW):
    """AdamW of torch that is not fused, as another package's optimizer may be."""

    def build(self, groups, learning_rate):
        return torch.optim.AdamW([dict(g) for g in groups], lr=learning_rate, betas=self.betas)


def test_the_clip_acts_on_an_optimizer_that_is_not_fused():
    ends = []
    for rule in (AdamW(), Plain()):
        network = tiny_gpt2().double()
        optimizer = make_optimizer(network, 1e-2, 0.1, rule)
        for _ in range(3):
            train_step(network, optimizer, [Segment((256,), (1, 2, 3))], CPU32, 0.01)
        ends.append([p.detach() for p in network.parameters()])
    for fused, plain in zip(*ends, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-7)


def test_thresholds_of_the_rule_stand_in_one_place():
    config = load_config("quickstart", ["collapse.patience=7"])
    assert isinstance(config.collapse, collapse_lm.CollapseRule)
    of_the_rule = {"loop_share", "seq_rep_4", "train_loss", "degenerate_share", "patience"}
    of_states = {"drift", "overlap", "distinct", "low_entropy", "high_entropy", "short"}
    assert set(collapse_lm.CollapseRule.model_fields) == of_the_rule | of_states
