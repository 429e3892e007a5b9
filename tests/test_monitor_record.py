"""What a monitor leaves behind: a run directory that every reader takes, and a checkpoint."""

import gc
import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from collapse_lm.config import load_config
from collapse_lm.errors import UserError
from collapse_lm.measures.endings import profile_of
from collapse_lm.measures.names import described
from collapse_lm.monitor import MONITOR_RULE, Monitor
from collapse_lm.monitor.record import reason_of
from collapse_lm.report.page.feed import read_feed
from collapse_lm.rundir import RecordError, RunReader, has_writer
from collapse_lm.rundir.session import resume

from conftest import byte_tokenizer, tiny_gpt2
from hostile import call
from monitored import BASE, SHORT, STATES, becomes, unigram


def watch(path, *, start=0, **settings):
    """A training of 30 steps that shrinks at step 20, probed at every fifth step."""
    network = unigram(BASE)
    monitor = Monitor(byte_tokenizer(), out=path, **{**SHORT, "every": 5, **settings})
    monitor.start(network, start)
    for step in range(start + 1, start + 31):
        becomes(network, STATES["shrink"][0] if step >= start + 20 else BASE)
        if step % 2 == 0:
            monitor.observe_texts(
                [f"text {step} {n} and what else it says" for n in range(12)], step
            )
        if monitor.is_due(step):
            monitor.observe(network, step=step)
        if step % 10 == 0:
            monitor.note_training(step, {"train.loss": 3 - step / 100, "train.lr": 1e-3})
    return monitor


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    monitor = watch(folder / "watched")
    summary = monitor.close()
    return monitor.path, summary


def test_a_row_stands_where_something_was_observed(record):
    path, _ = record
    rows = RunReader(path).updates()
    expected = sorted({0, *range(2, 31, 2), *range(5, 31, 5)})
    assert [row.update for row in rows] == expected
    at = {row.update: row.values for row in rows}
    assert "probe.entropy" in at[5]
    assert "rollouts.length" not in at[5]
    assert "rollouts.length" in at[2]
    assert "probe.entropy" not in at[2]
    assert {"rollouts.length", "probe.entropy", "train.loss"} <= at[10].keys()
    assert at[10]["train.loss"] == pytest.approx(2.9)
    assert {"base_samples.entropy", "text.loop_share"} <= at[0].keys()
    assert "rollouts.start_length" in at[12]
    assert "rollouts.start_length" not in at[14]


def test_every_number_is_described(record):
    path, _ = record
    names = {name for row in RunReader(path).updates() for name in row.values}
    assert {name for name in names if described(name) is None} == set()


def test_texts_are_kept_of_both_streams(record):
    path, _ = record
    samples = {row.update: row for row in RunReader(path).samples()}
    assert [text.origin for text in samples[0].probe] == ["base"] * 8
    assert [text.origin for text in samples[5].probe] == ["probe"] * 8
    assert len(samples[2].texts) == 8  # of twelve
    assert samples[2].texts[0].text == "text 2 0 and what else it says"
    assert samples[10].texts
    assert samples[10].probe


def test_the_summary_is_what_the_rows_say(record):
    path, summary = record
    reader = RunReader(path)
    assert reader.summary() == summary
    assert summary["endings"] == profile_of(reader.updates(), load_config(path).collapse)
    assert summary["endings"]["shrink"]["entered"] == 20
    assert summary["rollout_endings"]["shrink"]["entered"] is None
    assert not summary["collapsed"]
    assert summary["reason"] == "mode since step 20, shrink since step 20"
    assert summary["train_loss"] == {"first": 2.9, "last": 2.7}
    assert 0 < summary["seconds_share"] <= 1
    reader.check_end()


def test_the_reason_names_states_in_the_order_in_which_they_came():
    def stay(entered=None, left=None):
        return {"entered": entered, "left": left, "updates": 0, "entries": 0}

    endings = {"drift": stay(2), "mode": stay(9), "loop": stay(), "noise": stay(4, 7)}
    rollouts = {"drift": stay(), "loop": stay(8)}
    summary = {"status": "interrupted", "endings": endings, "rollout_endings": rollouts}
    told = "noise from 4 to 7, loop of the rollouts since step 8, mode since step 9"
    assert reason_of(summary) == told
    broken = {"status": "finished", "endings": {}, "degenerate_before_training": True}
    assert reason_of(broken) == "degenerate before any training"
    assert reason_of({"status": "finished", "endings": {"drift": stay(2)}}) == (
        "no collapse: the training ended"
    )


def test_a_training_that_was_never_looked_at_says_so(tmp_path, caplog):
    monitor = Monitor(byte_tokenizer(), out=tmp_path / "m", **SHORT)
    monitor.start(unigram(BASE))
    monitor.close()
    assert RunReader(tmp_path / "m").summary()["reason"] == "not looked at after the baseline"
    assert "no probe after the baseline" in caplog.text


def test_manifest_and_configuration_tell_what_was_done(record):
    path, _ = record
    manifest, config = RunReader(path).manifest(), load_config(path)
    assert manifest["made_by"] == "monitor"
    assert manifest["status"] == "finished"
    assert manifest["baseline_step"] == 0
    assert manifest["model"]["reference"] == "gpt2"
    assert manifest["corpora"][0]["name"] == "held_out"
    assert "kept from the baseline" in manifest["kl_to_start"]
    assert config.collapse.patience == MONITOR_RULE.patience
    assert config.sampling.max_new_tokens == 48
    assert config.evaluation.corpora == ("held_out",)


def test_it_is_listed_reported_shown_and_exported(record, tmp_path):
    path, _ = record
    listed = call("ls", path.parent, "--json")
    (found,) = json.loads(listed.out)
    assert (found["source"], found["status"], found["updates"]) == ("monitor", "finished", 30)
    reported = call("report", path, "-o", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "1 run," in reported.out, reported.err
    assert "made by the monitor" in page
    assert "training.learning_rate" not in page
    viewed = call("view", path.parent, "--static", tmp_path / "site")
    assert (tmp_path / "site" / "index.html").is_file(), viewed.err
    exported = call("export", path.parent, "--format", "jsonl", "--out", tmp_path / "tables")
    assert f"{len(RunReader(path).updates())} rows" in exported.out, exported.err
    compared = call("compare", path, path)
    assert compared.code == 0, compared.err


def test_a_page_takes_the_level_of_the_base_model_from_the_baseline(record):
    from collapse_lm.report.page.verdict import of_base_model

    path, _ = record
    feed, rows = read_feed(path), RunReader(path).updates()
    assert feed.faults == []
    assert of_base_model(feed.columns, "text.distinct_4") == pytest.approx(
        rows[0]["text.distinct_4"], abs=1e-5
    )
    assert feed.base_is_degenerate is False


def test_resume_says_what_it_is(record):
    with pytest.raises(UserError, match="a record of the monitor"):
        resume(record[0])


def test_a_run_may_have_no_gaps_still(record, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    for name in ("config.yaml", "manifest.json", "updates.jsonl", "samples.jsonl"):
        (path / name).write_bytes((record[0] / name).read_bytes())
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["made_by"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RecordError, match="line 2: update 2 instead of 1"):
        RunReader(path).updates()
    assert read_feed(path).faults


@pytest.mark.parametrize("name", ["updates.jsonl", "samples.jsonl"])
def test_rows_that_do_not_rise_are_refused(name, record, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    for each in ("config.yaml", "manifest.json", "updates.jsonl", "samples.jsonl"):
        content = (record[0] / each).read_bytes()
        (path / each).write_bytes(
            content + (content.split(b"\n")[1] + b"\n" if each == name else b"")
        )
    with pytest.raises(RecordError, match="update 2 after 30"):
        RunReader(path).updates() and RunReader(path).samples()
    assert len(read_feed(path).faults) == 1


# --- writing -----------------------------------------------------------------------------------


def test_the_last_row_is_held_until_a_later_step_or_the_end(tmp_path):
    network, monitor = unigram(BASE), Monitor(byte_tokenizer(), out=tmp_path / "m", **SHORT)

    def written():
        return [row.update for row in RunReader(tmp_path / "m").updates()]

    monitor.start(network)
    assert written() == []
    monitor.observe(network, step=3)
    assert written() == [0]
    monitor.note_training(3, {"train.loss": 1.0})
    monitor.is_due(4)
    assert written() == [0, 3]
    monitor.note_training(3, {"train.loss": 2.0})  # too late, and no harm
    monitor.observe_texts(["a b"], 5)
    assert has_writer(tmp_path / "m")
    summary = monitor.close()
    assert written() == [0, 3, 5]
    assert RunReader(tmp_path / "m").updates()[1]["train.loss"] == 1.0
    assert not has_writer(tmp_path / "m")
    assert monitor.close("failed") == summary
    with pytest.raises(UserError, match="closed"):
        monitor.observe(network, step=6)


def test_what_is_held_is_written_when_nobody_closes(tmp_path):
    monitor = Monitor(out=tmp_path / "m")
    monitor.observe_texts(["a b c"], 1)
    del monitor
    gc.collect()
    assert [row.update for row in RunReader(tmp_path / "m").updates()] == [1]
    assert RunReader(tmp_path / "m").manifest()["status"] == "running"
    assert not has_writer(tmp_path / "m")


def test_steps_only_grow(tmp_path):
    network, monitor = unigram(BASE), Monitor(byte_tokenizer(), out=tmp_path / "m", **SHORT)
    monitor.start(network)
    with pytest.raises(UserError, match="second baseline"):
        monitor.start(network)
    monitor.observe_texts(["a b"], 5)
    monitor.observe(network, step=5)  # the same step, another stream
    for observe in (
        lambda: monitor.observe(network, step=5),
        lambda: monitor.observe_texts(["a b"], 5),
        lambda: monitor.observe(network, step=4),
    ):
        with pytest.raises(UserError, match="a step after 5"):
            observe()


def test_a_training_that_goes_on_has_its_baseline_where_it_does(tmp_path):
    monitor = watch(tmp_path / "m", start=500)
    monitor.close("interrupted")
    reader = RunReader(tmp_path / "m")
    assert [row.update for row in reader.updates()][:3] == [0, 502, 504]
    assert reader.manifest()["baseline_step"] == 500
    assert reader.summary()["status"] == "interrupted"
    assert reader.summary()["reason"] == "mode since step 520, shrink since step 520"
    assert read_feed(tmp_path / "m").faults == []


def test_rollouts_may_come_before_a_model(tmp_path):
    monitor = Monitor(byte_tokenizer(), out=tmp_path / "m", **SHORT)
    monitor.observe_texts(["a b c d"], 1)
    assert RunReader(tmp_path / "m").manifest()["model"]["reference"] == "texts"
    monitor.observe(tiny_gpt2(), step=4)
    monitor.close()
    reader = RunReader(tmp_path / "m")
    assert [row.update for row in reader.updates()] == [1, 4]
    assert reader.manifest()["model"]["reference"] == "gpt2"
    assert load_config(tmp_path / "m").evaluation.corpora == ("held_out",)
    assert read_feed(tmp_path / "m").faults == []


def test_a_place_that_is_in_use_is_refused_untouched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    monitor = Monitor(byte_tokenizer(), out=tmp_path, **SHORT)
    with pytest.raises(UserError, match="in use"):
        monitor.observe_texts(["a"], 1)
    assert [item.name for item in tmp_path.iterdir()] == ["mine.txt"]


def test_a_place_is_made_where_none_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = Monitor(), Monitor()
    with pytest.raises(UserError, match="not observed"):
        _ = first.path
    for monitor in (first, second):
        monitor.observe_texts(["a"], 1)
    assert first.path != second.path
    assert first.path.parent.name == "runs"
    assert first.path.name.startswith("monitor-texts-")


def test_numbers_for_loggers_are_finite_or_told(tmp_path):
    monitor = watch(tmp_path / "m")
    names = set(monitor.latest)
    assert {"collapse/probe.entropy", "collapse/validation.change[held_out]"} <= names
    assert {"collapse/rollouts.length", "collapse/prefix.kl", "collapse/seconds_share"} <= names
    assert monitor.latest["collapse/state/shrink"] == 1.0
    assert monitor.latest["collapse/rollouts/state/shrink"] == 0.0
    assert not [n for n, v in monitor.latest.items() if math.isnan(v)]
    assert not [n for n in names if "base_samples" in n or "seconds." in n]


# --- the healthy checkpoint --------------------------------------------------------------------


def test_one_healthy_checkpoint_stands_at_the_last_healthy_probe(tmp_path):
    monitor = watch(tmp_path / "m", keep_healthy=True)
    assert monitor.close()["healthy_step"] == 15
    assert [item.name for item in (tmp_path / "m" / "healthy").iterdir()] == ["step-15"]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "m" / "healthy" / "step-15")
    assert torch.equal(again.lm_head.weight, unigram(BASE).lm_head.weight)


def test_under_drift_alone_checkpoints_are_kept(tmp_path):
    network = unigram(BASE)
    settings = {**SHORT, "keep_healthy": True, "on_collapse": "stop"}
    monitor = Monitor(byte_tokenizer(), out=tmp_path / "m", **settings)
    monitor.start(network)
    becomes(network, STATES["drift"][0])
    found = [monitor.observe(network, step=step) for step in (1, 2, 3)]
    assert found[-1].entered == {"drift": 1}
    assert monitor.close()["healthy_step"] == 3


def test_a_checkpoint_that_cannot_be_saved_stops_nothing(tmp_path, caplog):
    network = unigram(BASE)
    monitor = Monitor(byte_tokenizer(), out=tmp_path / "m", **{**SHORT, "keep_healthy": True})
    monitor.start(network)
    (tmp_path / "m" / "healthy").write_text("in the way")
    for step in (1, 2):
        monitor.observe(network, step=step)
    (told,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert told.startswith("no healthy checkpoint is kept from step 1 on: NotADirectoryError")


def test_of_adapters_the_adapters_alone_are_kept(tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    model = peft.get_peft_model(tiny_gpt2(), config)
    settings = {**SHORT, "keep_healthy": True, "held_out": None}
    monitor = Monitor(byte_tokenizer(), out=tmp_path / "m", **settings)
    monitor.start(model)
    monitor.observe(model, step=1)
    names = {item.name for item in (tmp_path / "m" / "healthy" / "step-1").iterdir()}
    assert "adapter_model.safetensors" in names
    assert "model.safetensors" not in names
    assert "tokenizer.json" in names
