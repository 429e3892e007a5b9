"""Dynamic evaluation: each segment is scored before the step on it."""

import json
import math

import numpy as np
import pytest
import torch
from test_run import untimed
from transformers import AutoTokenizer

import collapse_lm
from collapse_lm.analysis.stats.blocks import block_bootstrap
from collapse_lm.config import load_config
from collapse_lm.errors import UserError
from collapse_lm.experiment import ready
from collapse_lm.rundir import RunReader

from conftest import tiny_gpt2
from hostile import call

QUICK = ["precision=float32", "run.threads=1", "observers=[]", "run.report=false"]
SEGMENT, START = 16, 256


@pytest.fixture(scope="module")
def done(gpt2_dir, prose_file, tmp_path_factory):
    return collapse_lm.dynamic_eval(
        gpt2_dir,
        f"text:{prose_file}",
        tokens=12 * SEGMENT + 5,
        segment=SEGMENT,
        out=tmp_path_factory.mktemp("dynamic") / "run",
        overrides=[*QUICK, "training.learning_rate=1e-3"],
    )


def stream_of(prose_file, gpt2_dir):
    tokenizer = AutoTokenizer.from_pretrained(gpt2_dir)
    return [START, *tokenizer(prose_file.read_text(), add_special_tokens=False)["input_ids"]]


def nll(network, ids, last=None):
    """Mean -log p of the last of some ids (of all but the first), with one plain pass."""
    ids = torch.tensor([ids])
    log_p = network(ids[:, :-1]).logits[0].log_softmax(-1)
    return -log_p.gather(-1, ids[0, 1:, None])[-(last or len(ids[0])) :].mean()


def segments(stream, count):
    return [stream[n * SEGMENT : (n + 1) * SEGMENT + 1] for n in range(count)]


def test_losses_are_those_of_a_plain_loop(done, prose_file, gpt2_dir):
    network, stream = tiny_gpt2(), stream_of(prose_file, gpt2_dir)
    with torch.no_grad():
        static = [nll(network, ids).item() for ids in segments(stream, 12)]
        whole = [nll(network, stream[:129]).item(), nll(network, stream[64:193], 64).item()]
    matrices = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    dynamic = []
    for ids in segments(stream, 12):
        loss = nll(network, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        dynamic.append(loss.item())
    found = done.summary
    assert found["static_loss"] == pytest.approx(np.mean(static), rel=1e-5)
    assert found["static_losses"] == pytest.approx(static, rel=1e-5)
    assert found["dynamic_loss"] == pytest.approx(np.mean(dynamic), rel=1e-5)
    assert found["static_loss_longest"] == pytest.approx((2 * whole[0] + whole[1]) / 3, rel=1e-5)
    assert found["difference"] == pytest.approx(np.mean(dynamic) - np.mean(static), rel=1e-4)
    assert found["dynamic_loss"] < found["static_loss"] - 0.01
    assert found["difference_lower"] < found["difference"] < found["difference_upper"]
    facts = ("tokens", "segments", "static_context", "longest_context")
    assert [found[name] for name in facts] == [192, 12, 16, 128]


def test_it_is_an_ordinary_run(done):
    rows = RunReader(done.directory).updates()
    assert len(rows) == 13
    assert not any("text.loop_share" in row.values for row in rows)
    assert json.loads((done.directory / "summary.json").read_text()) == done.summary
    assert not (done.directory / "checkpoints").exists()
    losses = [row.get("train.loss") for row in rows[1:]]
    assert np.mean(losses) == pytest.approx(done.summary["dynamic_loss"])


def test_the_model_is_loaded_once_and_scoring_it_before_changes_no_digit(
    done, gpt2_dir, prose_file, monkeypatch, tmp_path
):
    loaded, load = [], ready.load_model
    monkeypatch.setattr(ready, "load_model", lambda name: loaded.append(name) or load(name))
    corpus, settings = f"text:{prose_file}", [*QUICK, "training.learning_rate=1e-3"]
    collapse_lm.dynamic_eval(
        gpt2_dir, corpus, tokens=64, segment=SEGMENT, out=tmp_path / "r", overrides=settings
    )
    assert loaded == [str(gpt2_dir)]
    alone = collapse_lm.run(load_config(done.directory / "config.yaml"), tmp_path / "alone")
    assert untimed(alone.directory) == untimed(done.directory)


def test_at_rate_0_nothing_is_learned(gpt2_dir, prose_file, tmp_path):
    overrides = [*QUICK, "training.learning_rate=0", "sampling.batch_size=2"]
    corpus, out = f"text:{prose_file}", tmp_path / "r"
    found = collapse_lm.dynamic_eval(
        gpt2_dir, corpus, segment=SEGMENT, out=out, overrides=overrides
    ).summary
    updates = len(prose_file.read_bytes()) // (2 * SEGMENT)  # a byte is a token
    assert (found["updates"], found["segments"]) == (updates, 2 * updates)
    assert found["difference"] == pytest.approx(0, abs=1e-6)


def test_the_same_call_goes_on_with_what_was_interrupted(done, gpt2_dir, prose_file, tmp_path):
    asked = []

    def again(**more):
        return collapse_lm.dynamic_eval(
            str(gpt2_dir),
            f"text:{prose_file}",
            tokens=12 * SEGMENT + 5,
            segment=SEGMENT,
            out=tmp_path / "r",
            overrides=[*QUICK, "training.learning_rate=1e-3"],
            **more,
        )

    first = again(should_stop=lambda: asked.append(0) or len(asked) == 6)
    assert first.summary["status"] == "interrupted"
    assert "dynamic_loss" not in first.summary
    for _ in range(2):  # the second finds it over
        assert again().summary == done.summary


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"overrides": ["training.window=8"]}, "training.window"),
        ({"overrides": ["source.order=random"]}, "source.order"),
        ({"tokens": 10}, "10 tokens to score"),
        ({"corpus": "text:nowhere.txt"}, "nowhere.txt"),
        ({"segment": 0}, "1 token or more"),
        ({"segment": 400}, "--segment"),
    ],
)
def test_what_is_no_dynamic_evaluation_is_refused(changes, told, gpt2_dir, prose_file, tmp_path):
    settings = {"corpus": f"text:{prose_file}", "segment": SEGMENT, "overrides": [], **changes}
    settings["overrides"] = [*QUICK, *settings["overrides"]]
    corpus = settings.pop("corpus")
    with pytest.raises(UserError, match=told):
        collapse_lm.dynamic_eval(gpt2_dir, corpus, out=tmp_path / "r", **settings)
    assert not (tmp_path / "r").exists()


def test_the_command_prints_the_losses(gpt2_dir, prose_file, tmp_path):
    words = ["dynamic-eval", gpt2_dir, "--corpus", f"text:{prose_file}", "--tokens", 50]
    words += ["--segment", SEGMENT, "--out", tmp_path / "r"]
    words += [word for setting in QUICK for word in ("--set", setting)]
    done = call(*words)
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert f"dynamic loss {summary['dynamic_loss']:.4f}" in done.out
    assert "48 tokens, 3 segments of 16" in done.out
    assert "95 % interval nan to nan" in done.out  # too few segments
    assert json.loads(call(*words, "--json").out) == summary


# --- the interval ------------------------------------------------------------------------------


def test_blocks_of_neighbours_spread_as_their_definition_says():
    values = np.sin(np.arange(64) / 3) + np.arange(64) / 50
    length, blocks = 4, 16
    means = [np.mean([values[(s + n) % 64] for n in range(length)]) for s in range(64)]
    found = block_bootstrap(values, seed=1, resamples=40_000)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * np.std(means) / math.sqrt(blocks)
    assert (found.upper - found.lower) / 2 == pytest.approx(half, rel=0.03)
    alone = np.std(values) / math.sqrt(64) * 1.96
    assert half > 1.5 * alone  # neighbours are alike


def test_a_short_or_broken_series_has_no_interval():
    assert math.isnan(block_bootstrap([1.0] * 9, seed=0).lower)
    broken = block_bootstrap([*[1.0] * 20, math.nan], seed=0)
    assert math.isnan(broken.value)
    assert math.isnan(broken.upper)
    same = block_bootstrap([2.0] * 20, seed=0)
    assert (same.lower, same.upper) == pytest.approx((2.0, 2.0))
