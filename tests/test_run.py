"""A run as a user does one: the record on disk, its repeatability, its independence."""

import json
from pathlib import Path

import pytest
import yaml

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.errors import UserError
from collapse_lm.rundir import RunReader


def do(tiny_overrides, out, *more, **options):
    config = load_config("quickstart", [*tiny_overrides, *more])
    return collapse_lm.run(config, out, **options)


def untimed(path):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in RunReader(path).updates()]


@pytest.fixture(scope="module")
def finished(tiny_overrides, tmp_path_factory):
    return do(tiny_overrides, tmp_path_factory.mktemp("runs") / "one")


def test_the_run_directory_is_complete(finished):
    names = {str(p.relative_to(finished.directory)) for p in finished.directory.rglob("*")}
    assert names == {
        ".lock",
        "config.yaml",
        "manifest.json",
        "updates.jsonl",
        "samples.jsonl",
        "summary.json",
        "samples.md",
        "figures",
        "figures/losses.svg",
        "figures/losses.png",
        "figures/losses.pdf",
    }


def test_rows_hold_what_the_design_says(finished):
    rows = RunReader(finished.directory).updates()
    assert [row["update"] for row in rows] == list(range(7))
    base, first = rows[:2]
    assert (base["train_loss"], base["text"], base["tokens"]) == (None, None, 0)
    (name,) = base["validation"]
    assert set(base["validation"][name]) == {
        "loss",
        "perplexity",
        "bits_per_byte",
        "word_perplexity",
        "tokens",
    }
    assert set(first["text"]) == {
        *(f"distinct_{n}" for n in (1, 2, 3, 4)),
        "seq_rep_4",
        "loop_period",
        "loop_share",
        "compression",
    }
    assert set(first["seconds"]) == {"sample", "train", "evaluate"}
    assert (first["tokens"], first["forward_passes"], first["lr"]) == (40, 40, 3e-3)
    assert first["entropy"] > 0
    assert first["grad_norm"] > 0


def test_samples_are_the_tokens_trained_on(finished):
    reader = RunReader(finished.directory)
    samples = reader.samples()
    assert [row["update"] for row in samples] == list(range(1, 7))
    assert all(len(row["ids"][0]) == 40 and row["prompt"] == [256] for row in samples)


def test_manifest_and_summary(finished, gpt2_dir, prose_file):
    reader = RunReader(finished.directory)
    manifest, summary = reader.manifest(), reader.summary()
    assert manifest["status"] == summary["status"] == "finished"
    assert manifest["model"]["kind"] == "local"
    assert manifest["model"]["parameters"] == 37_792
    (corpus,) = manifest["corpora"]
    assert corpus["tokens"] == len(prose_file.read_bytes()) == corpus["scored_bytes"]
    assert (corpus["context"], corpus["stride"], corpus["form"]) == (64, 64, "raw")
    assert summary["reason"] == "censored: reached run.max_updates"
    assert (summary["collapsed"], summary["updates"]) == (False, 6)
    assert summary["validation"]["end"]["update"] == 6


def test_the_written_configuration_repeats_the_run(finished, tmp_path):
    again = collapse_lm.run(finished.directory / "config.yaml", tmp_path / "again")
    assert untimed(again.directory) == untimed(finished.directory)
    for name in ("samples.jsonl", "summary.json", "config.yaml", "figures/losses.svg"):
        assert (again.directory / name).read_bytes() == (finished.directory / name).read_bytes()


def test_evaluation_settings_do_not_change_a_sampled_token(finished, tiny_overrides, tmp_path):
    other = do(
        tiny_overrides,
        tmp_path / "other",
        "evaluation.context=17",
        "evaluation.stride=5",
        "evaluation.every=4",
        "evaluation.tokens=50",
    )
    samples = (other.directory / "samples.jsonl").read_bytes()
    assert samples == (finished.directory / "samples.jsonl").read_bytes()
    evaluated = [r["update"] for r in RunReader(other.directory).updates() if r["validation"]]
    assert evaluated == [0, 4, 6]


@pytest.mark.parametrize(
    "change", ["seed=1", "sampling.temperature=0.9", "training.learning_rate=1e-2"]
)
def test_what_should_matter_does(change, finished, tiny_overrides, tmp_path):
    other = do(tiny_overrides, tmp_path / "other", change)
    samples = (other.directory / "samples.jsonl").read_bytes()
    assert samples != (finished.directory / "samples.jsonl").read_bytes()


def test_learning_rate_zero_leaves_the_validation_loss_equal_to_the_last_digit(
    tiny_overrides, tmp_path
):
    still = do(tiny_overrides, tmp_path / "still", "training.learning_rate=0")
    assert len({json.dumps(row["validation"]) for row in untimed(still.directory)}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        ["precision=bfloat16"],
        ["sampling.batch_size=3"],
        ["sampling.context=sliding", "sampling.block_size=16", "training.window=16"],
        ["training.retokenize=true", "training.window=20"],
        ["training.steps_per_update=3"],
        ["training.grad_clip=null", "sampling.top_k=null", "sampling.top_p=0.9"],
        ["sampling.stop_at_eos=true", "sampling.temperature=3"],
        ['sampling.prompt="Once upon"'],
    ],
)
def test_every_way_of_a_run_repeats_itself(changes, tiny_overrides, tmp_path):
    runs = [do(tiny_overrides, tmp_path / name, *changes, "run.max_updates=3") for name in "ab"]
    assert untimed(runs[0].directory) == untimed(runs[1].directory)
    assert len(untimed(runs[0].directory)) == 4


def test_more_steps_per_update_learn_more(tiny_overrides, tmp_path):
    one = do(tiny_overrides, tmp_path / "1", "run.max_updates=2")
    five = do(tiny_overrides, tmp_path / "5", "run.max_updates=2", "training.steps_per_update=5")
    first, more = (RunReader(r.directory).updates() for r in (one, five))
    assert first[1]["train_loss"] == more[1]["train_loss"]
    assert first[1]["validation"] != more[1]["validation"]


def test_a_collapse_ends_the_run_and_is_summarized(tiny_overrides, tmp_path):
    result = do(tiny_overrides, tmp_path / "r", "collapse.train_loss=1e9", "collapse.aftermath=0")
    assert result.summary["collapse_update"] == 1
    assert result.summary["updates"] == 5
    assert result.summary["criteria"] == ["train_loss"]
    assert result.summary["validation"]["collapse"]["update"] == 1


def test_a_stop_request_ends_the_run_with_its_record(tiny_overrides, tmp_path):
    seen = []
    result = do(
        tiny_overrides,
        tmp_path / "r",
        observers=[seen.append],
        should_stop=lambda: len(seen) == 3,
    )
    assert result.summary["status"] == "interrupted"
    assert [row["update"] for row in untimed(result.directory)] == [0, 1, 2]
    assert RunReader(result.directory).manifest()["status"] == "interrupted"


def test_a_failure_in_the_middle_keeps_the_record(tiny_overrides, tmp_path):
    def fail(record):
        if record.update == 2:
            raise OSError("the observer failed")

    with pytest.raises(OSError, match="the observer failed"):
        do(tiny_overrides, tmp_path / "r", observers=[fail])
    reader = RunReader(tmp_path / "r")
    assert reader.manifest()["status"] == "failed"
    assert (reader.summary()["status"], reader.summary()["reason"]) == ("failed", "failed")
    assert len(untimed(tmp_path / "r")) == 3


@pytest.mark.parametrize("rate", ["1e30", "1e36"])
def test_weights_that_break_end_the_run_as_diverged(rate, tiny_overrides, tmp_path):
    result = do(tiny_overrides, tmp_path / "r", f"training.learning_rate={rate}")
    assert result.summary["status"] == "diverged"
    last = untimed(result.directory)[-1]
    assert last["applied"] is False
    assert last["nonfinite"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("sampling.max_new_tokens=129", "sampling.max_new_tokens"),
        ("evaluation.context=129", "evaluation.context"),
    ],
)
def test_lengths_past_the_positions_are_refused_before_anything_is_made(
    change, key, tiny_overrides, tmp_path
):
    with pytest.raises(UserError, match="at most 128") as caught:
        do(tiny_overrides, tmp_path / "r", change)
    assert [problem.where for problem in caught.value.problems] == [key]
    assert not (tmp_path / "r").exists()


def test_a_sample_longer_than_the_positions_slides(tiny_overrides, tmp_path):
    result = do(
        tiny_overrides,
        tmp_path / "r",
        "sampling.max_new_tokens=150",
        "sampling.context=sliding",
        "sampling.block_size=100",
        "training.window=100",
        "run.max_updates=1",
    )
    assert len(RunReader(result.directory).samples()[0]["ids"][0]) == 150


def test_the_config_file_of_a_run_is_complete(finished):
    tree = yaml.safe_load((finished.directory / "config.yaml").read_text())
    assert tree == load_config(finished.directory / "config.yaml").model_dump(mode="json")


def test_the_default_directory_is_under_runs(tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = do(tiny_overrides, None, "run.max_updates=0")
    assert result.directory.parent == Path("runs")
    assert [row["update"] for row in untimed(result.directory)] == [0]
