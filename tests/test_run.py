"""A run as a user does one: the record on disk, its repeatability, its independence."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.errors import MachineError, UserError
from collapse_lm.experiment.batch import are_ends
from collapse_lm.measures.text import TextMetrics, measure_samples
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.recorder import Recorder
from collapse_lm.rundir.rows import row_line

from conftest import every_format


def do(tiny_overrides, out, *more, **options):
    config = load_config("quickstart", [*tiny_overrides, *more])
    return collapse_lm.run(config, out, **options)


def untimed(path):
    """The rows of a run without their timings, as JSON: a NaN is the same as another there."""
    rows = RunReader(path).updates()
    return [json.loads(row_line(replace(row, values=untimed_values(row)))) for row in rows]


def untimed_values(row):
    return {name: v for name, v in row.values.items() if not name.startswith("seconds.")}


class Seen:
    """An observer that keeps the updates that it is told of."""

    def __init__(self):
        self.updates = []

    def start(self, run): ...

    def update(self, record):
        self.updates.append(record.update)

    def end(self, summary): ...


@pytest.fixture(scope="module")
def finished(tiny_overrides, tmp_path_factory):
    with every_format():
        out = tmp_path_factory.mktemp("runs") / "one"
        return do(tiny_overrides, out, "run.checkpoint_every=off")  # auto goes by the clock


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
        "report.html",
        "figures",
        "figures/losses.svg",
        "figures/losses.png",
        "figures/losses.pdf",
    }


def test_rows_hold_what_the_design_says(finished, prose_file):
    rows = RunReader(finished.directory).updates()
    assert [row.update for row in rows] == list(range(7))
    base, first = rows[:2]
    losses = {"loss", "perplexity", "bits_per_byte", "word_perplexity", "tokens"}
    evaluated = {f"validation.{name}[text:{prose_file}]" for name in losses}
    assert base.values.keys() == {*evaluated, "seconds.evaluate"}
    text = {f"text.{field.name}" for field in fields(TextMetrics)} - {"text.loop_period"}
    assert first.values.keys() - {"text.loop_period"} == {
        *evaluated,
        *(f"validation.{name}[text:{prose_file}]" for name in ("change", "change_se")),
        *text,
        *(f"train.{name}" for name in ("loss", "grad_norm", "lr", "tokens", "steps")),
        *("draw.entropy", "draw.forward_passes", "probe.loss", "probe.entropy"),
        *("draw.sampling_entropy", "probe.sampling_entropy", "draw.top1", "probe.top1"),
        *(f"seconds.{name}" for name in ("sample", "probe", "train", "judge", "evaluate")),
        *("seconds.log_probs", "probe.length", "dose.rate", "dose.square"),
        *(f"pool.distinct_{n}" for n in (1, 2, 3, 4)),
    }
    counted = ("train.tokens", "draw.forward_passes", "train.steps", "train.lr")
    assert [first.values[name] for name in counted] == [40, 40, 1, 3e-3]
    assert first.get("draw.entropy") == first.get("probe.entropy") > 0
    assert first.get("probe.loss") == first.get("train.loss") > 0
    assert first.get("train.grad_norm") > 0


def test_a_loop_has_a_period_in_the_row_and_only_a_loop(finished, tiny_overrides, tmp_path):
    greedy = do(tiny_overrides, tmp_path / "r", "sampling.temperature=0", "run.max_updates=1")
    looping = RunReader(greedy.directory).updates()[1]
    assert looping.get("text.loop_share") > 0
    assert looping.values["text.loop_period"] >= 1
    for row in RunReader(finished.directory).updates():
        assert not row.values.get("text.loop_share")
        assert "text.loop_period" not in row.values


def test_samples_are_the_tokens_trained_on(finished):
    samples = RunReader(finished.directory).samples()
    assert [row.update for row in samples] == list(range(1, 7))
    for row in samples:
        (text,) = row.texts
        assert (len(text.ids), len(text.log_probs), text.prompt) == (40, 40, (256,))
        assert (text.origin, row.probe, row.samples) == ("own", (), row.texts)
        assert are_ends(text.ends, text.ids, text.text)
        assert text.base_log_probs == ()


def test_the_entropies_of_the_tokens_are_those_of_the_row(finished):
    reader = RunReader(finished.directory)
    for row, sample in zip(reader.updates()[1:], reader.samples(), strict=True):
        (text,) = sample.texts
        mean = sum(text.entropies) / 40
        assert row.get("draw.entropy") == pytest.approx(mean, abs=5e-3)  # kept to two digits


def test_the_manifest_holds_human_text_at_the_length_of_a_sample(finished, prose_file):
    manifest = RunReader(finished.directory).manifest()
    text = prose_file.read_text("utf-8")
    step = len(text) // manifest["human_windows"]
    assert manifest["human_windows"] == min(20, len(text) // 40)
    starts = range(0, step * manifest["human_windows"], step)
    windows = [text[start : start + 40] for start in starts]
    wanted = measure_samples([list(window.encode()) for window in windows], windows)
    assert manifest["human"]["text.distinct_4"] == pytest.approx(wanted.distinct_4, abs=1e-6)
    assert manifest["human"]["text.compression"] == pytest.approx(wanted.compression, abs=1e-6)
    names = {f"text.{field.name}" for field in fields(TextMetrics)}
    pooled = {"pool.overlap", *(f"pool.distinct_{n}" for n in (1, 2, 3, 4))}
    assert manifest["human"].keys() == {*names, *pooled} - {"text.loop_period"}


def test_a_corpus_shorter_than_a_sample_is_no_reference(tiny_overrides, tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    words = [f"evaluation.corpora=[text:{tmp_path / 'short.txt'}]", "run.max_updates=1"]
    run = do(tiny_overrides, tmp_path / "r", *words)
    assert not {"human", "human_windows"} & RunReader(run.directory).manifest().keys()


def test_the_log_probabilities_of_the_tokens_are_the_train_loss(finished):
    rows, samples = (
        RunReader(finished.directory).updates()[1:],
        RunReader(finished.directory).samples(),
    )
    for row, sample in zip(rows, samples, strict=True):
        mean = -sum(sample.texts[0].log_probs) / 40
        assert row.get("train.loss") == pytest.approx(mean, abs=1e-3)  # kept to three digits


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
    rows = RunReader(other.directory).updates()
    evaluated = [row.update for row in rows if row.labelled("validation.loss")]
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
    rows = RunReader(still.directory).updates()
    names = [name for name in rows[0].values if name.startswith("validation.")]
    assert len(names) == 5
    assert len({tuple(row.values[name] for name in names) for row in rows}) == 1


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
    assert first[1].values["train.loss"] == more[1].values["train.loss"]
    assert [row.values["train.steps"] for row in (first[1], more[1])] == [1, 5]
    assert first[1].labelled("validation.loss") != more[1].labelled("validation.loss")


def test_a_collapse_ends_the_run_and_is_summarized(tiny_overrides, tmp_path):
    result = do(tiny_overrides, tmp_path / "r", "collapse.train_loss=1e9", "collapse.aftermath=0")
    assert result.summary["collapse_update"] == 1
    assert result.summary["updates"] == 5
    assert result.summary["criteria"] == ["train_loss"]
    assert result.summary["validation"]["collapse"]["update"] == 1


def test_a_stop_request_ends_the_run_with_its_record(tiny_overrides, tmp_path):
    seen = Seen()
    result = do(
        tiny_overrides,
        tmp_path / "r",
        observers=[seen],
        should_stop=lambda: len(seen.updates) == 3,
    )
    assert result.summary["status"] == "interrupted"
    assert [row["update"] for row in untimed(result.directory)] == [0, 1, 2]
    assert RunReader(result.directory).manifest()["status"] == "interrupted"


@pytest.mark.parametrize("error", [OSError, MachineError])
def test_a_record_that_cannot_be_written_ends_the_run_and_keeps_what_was(
    error, tiny_overrides, tmp_path, monkeypatch
):
    update = Recorder.update

    def fail(self, record):
        if record.update == 3:
            raise error("the disk failed")
        update(self, record)

    monkeypatch.setattr(Recorder, "update", fail)
    with pytest.raises(error, match="the disk failed"):
        do(tiny_overrides, tmp_path / "r")
    reader = RunReader(tmp_path / "r")
    assert reader.manifest()["status"] == "failed"
    assert (reader.summary()["status"], reader.summary()["reason"]) == ("failed", "failed")
    assert reader.summary()["updates"] == 2
    assert [row["update"] for row in untimed(tmp_path / "r")] == [0, 1, 2]


class Failing(Seen):
    def update(self, record):
        super().update(record)
        if record.update == 3:
            raise OSError("the observer failed")


def test_an_observer_that_raises_is_told_once_and_changes_no_row(
    finished, tiny_overrides, tmp_path, caplog
):
    failing, beside = Failing(), Seen()
    result = do(tiny_overrides, tmp_path / "r", observers=[failing, beside])
    assert (failing.updates, beside.updates) == ([0, 1, 2, 3], list(range(7)))
    told = [r.message for r in caplog.records if "switched off" in r.message]
    assert len(told) == 1
    assert "update 3" in told[0]
    assert "OSError: the observer failed" in told[0]
    assert untimed(result.directory) == untimed(finished.directory)
    for name in ("samples.jsonl", "summary.json", "samples.md", "figures/losses.svg"):
        assert (result.directory / name).read_bytes() == (finished.directory / name).read_bytes()


@pytest.mark.parametrize("rate", ["1e30", "1e36"])
def test_weights_that_break_end_the_run_as_diverged(rate, tiny_overrides, tmp_path):
    result = do(tiny_overrides, tmp_path / "r", f"training.learning_rate={rate}")
    assert result.summary["status"] == "diverged"
    *before, last = RunReader(result.directory).updates()
    assert (last.values["train.applied"], last.values["train.steps"]) == (0, 0)
    assert not math.isfinite(last.get("train.loss"))
    assert not any("train.applied" in row.values for row in before)
    line = json.loads((result.directory / "updates.jsonl").read_text().splitlines()[-1])
    assert line["train.loss"] is None
    assert line["nonfinite"]["train.loss"] == str(last.get("train.loss"))


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
    assert len(RunReader(result.directory).samples()[0].texts[0].ids) == 150


def test_the_config_file_of_a_run_is_complete(finished):
    tree = yaml.safe_load((finished.directory / "config.yaml").read_text())
    assert tree == load_config(finished.directory / "config.yaml").model_dump(mode="json")


def test_the_default_directory_is_under_runs(tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = do(tiny_overrides, None, "run.max_updates=0")
    assert result.directory.parent == Path("runs")
    assert [row["update"] for row in untimed(result.directory)] == [0]
