"""The cache model: a model interpolated with unigrams and bigrams of the newest tokens."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

import collapse_lm
from collapse_lm.errors import UserError

from conftest import byte_tokenizer, tiny_gpt2
from hostile import call

START, SEGMENT, CACHE = 256, 16, 30
TEXT = "A miller's daughter counts the sacks of flour twice, and the miller counts them again. " * 4
OTHER = "Seven sacks of barley, eight sacks of oats; the mule carries two sacks, the boy one. " * 3
PLAIN = ["precision=float32"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "text.txt").write_text(TEXT)
    (folder / "other.txt").write_text(OTHER)
    return {"corpus": f"text:{folder}/text.txt", "tune": f"text:{folder}/other.txt"}


def evaluated(gpt2_dir, texts, out, **changes):
    settings = {"tokens": 100, "segment": SEGMENT, "cache": CACHE, "overrides": PLAIN}
    settings |= texts | changes
    return collapse_lm.cache_eval(gpt2_dir, settings.pop("corpus"), out=out, **settings)


def static_log_probs(text, tokens, context):
    """log p of each token in windows, with plain passes; a character is a token."""
    network, ids = tiny_gpt2(), [START, *byte_tokenizer()(text)["input_ids"]]
    found = []
    with torch.no_grad():
        for start in range(0, tokens, context):
            window = torch.tensor([ids[start : min(start + context, tokens) + 1]])
            log_p = network(window[:, :-1]).logits[0].double().log_softmax(-1)
            found += log_p.gather(-1, window[0, 1:, None])[:, 0].tolist()
    return np.array(found)


def cached_probs(text, tokens):
    """Unigram and bigram of each token after the first, counted anew at each."""
    ids, found = list(text), []
    for place in range(1, tokens):
        cached = ids[max(0, place - CACHE) : place]
        after = [b for a, b in itertools.pairwise(cached) if a == ids[place - 1]]
        unigram = cached.count(ids[place]) / len(cached)
        found.append((unigram, after.count(ids[place]) / len(after) if after else unigram))
    return np.array(found).T


def interpolated(text, tokens, context, unigram, bigram):
    """Losses of each token by the definition; the first has no cache."""
    p = np.exp(static_log_probs(text, tokens, context))
    u, b = cached_probs(text, tokens)
    rest = (1 - unigram - bigram) * p[1:] + unigram * u + bigram * b
    return -np.log(np.concatenate([p[:1], rest]))


def test_losses_are_those_of_the_definition(gpt2_dir, texts, tmp_path):
    found = evaluated(gpt2_dir, texts, tmp_path / "r", weights=(0.1, 0.25)).summary
    assert (found["tokens"], found["segments"], found["longest_context"]) == (96, 6, 96)
    for suffix, context in {"": SEGMENT, "_longest": 96}.items():
        static = -static_log_probs(TEXT, 96, context)
        both = interpolated(TEXT, 96, context, 0.1, 0.25)
        held = np.array([TEXT[i] in TEXT[max(0, i - CACHE) : i] for i in range(96)])
        expected = {
            "static_loss": static.mean(),
            "cache_loss": both.mean(),
            "cache_perplexity": math.exp(both.mean()),
            "cache_bits_per_byte": both.mean() / math.log(2),
            "difference": (both - static).mean(),
            "difference_cached": (both - static)[held].mean(),
            "difference_not_cached": (both - static)[~held].mean(),
        }
        told = {name: found[name + suffix] for name in expected}
        assert told == pytest.approx(expected, rel=1e-5)
        weights = {"model": 0.65, "unigram": 0.1, "bigram": 0.25}
        assert found["weights" + suffix] == pytest.approx(weights)
    assert found["cached_share"] == pytest.approx(held.mean())
    assert found["difference_lower"] is None  # six segments are too few


def test_with_weight_0_it_is_the_model_to_the_last_digit(gpt2_dir, texts, tmp_path):
    found = evaluated(gpt2_dir, texts, tmp_path / "r", weights=(0, 0), tokens=200).summary
    for suffix in ("", "_longest"):
        assert found[f"cache_loss{suffix}"] == found[f"static_loss{suffix}"]
        limits = ("difference", "difference_lower", "difference_upper", "difference_cached")
        assert [found[name + suffix] for name in limits] == [0, 0, 0, 0]


def test_weights_are_the_likeliest_of_the_other_text(gpt2_dir, texts, tmp_path):
    found = evaluated(gpt2_dir, texts, tmp_path / "r", tune_tokens=120).summary
    chosen = found["weights"]
    assert sum(chosen.values()) == pytest.approx(1)

    static, (unigrams, bigrams) = static_log_probs(OTHER, 120, SEGMENT), cached_probs(OTHER, 120)

    def loss(unigram, bigram):
        model = (1 - unigram - bigram) * np.exp(static[1:])
        return -np.log(model + unigram * unigrams + bigram * bigrams).mean()

    best = loss(chosen["unigram"], chosen["bigram"])
    grid = np.linspace(0, 0.9, 10)
    assert best <= min(loss(u, b) for u in grid for b in grid if u + b < 1) + 1e-6
    assert best < loss(0, 0) - 0.5
    assert (found["tuned_tokens"], found["tuned_on"]) == (120, texts["tune"])
    assert found["difference"] < 0


def test_the_same_call_finds_what_is_there(gpt2_dir, texts, tmp_path, monkeypatch):
    done = evaluated(gpt2_dir, texts, tmp_path / "r", tune_tokens=50)
    assert json.loads((tmp_path / "r" / "summary.json").read_text()) == done.summary
    machine = json.loads((tmp_path / "r" / "machine.json").read_text())
    assert machine["threads"] == torch.get_num_threads()
    assert {"date", "processor", "versions", "git_commit"} <= machine.keys()
    with pytest.raises(UserError, match="cache 30, not 31"):
        evaluated(gpt2_dir, texts, tmp_path / "r", tune_tokens=50, cache=31)
    monkeypatch.setattr("collapse_lm.ngrams.cache_eval.log_probs", None)  # nothing is scored
    assert evaluated(gpt2_dir, texts, tmp_path / "r", tune_tokens=50).summary == done.summary
    (tmp_path / "r" / "settings.json").write_text("[")
    with pytest.raises(UserError, match=r"settings\.json"):
        evaluated(gpt2_dir, texts, tmp_path / "r", tune_tokens=50)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tokens": 10}, "10 tokens to score"),
        ({"segment": 400}, "fix       --segment 128, or"),
        ({"cache": 0}, "--cache"),
        ({"weights": (0.7, 0.7)}, "--weights"),
        ({"weights": (0.5, 0.5)}, "the model keeps the rest"),
        ({"weights": (0.1,)}, "--weights"),
        ({"weights": (math.nan, 0.1)}, "--weights"),
        ({"corpus": "text:nowhere.txt"}, "nowhere.txt"),
        ({"tune": "text:nowhere.txt"}, "nowhere.txt"),
        ({"tune": None}, "--tune"),
        ({"overrides": ["training.learning_rate=1"]}, "training.learning_rate"),
    ],
)
def test_bad_input_is_refused(changes, told, gpt2_dir, texts, tmp_path):
    if "tune" in changes and changes["tune"] is None:  # what is scored, with more around it
        (tmp_path / "more.txt").write_text(f"Before. {TEXT} After.")
        changes = {"tune": f"text:{tmp_path}/more.txt"}
    with pytest.raises(UserError, match=told):
        evaluated(gpt2_dir, texts, tmp_path / "r", **changes)
    assert not (tmp_path / "r").exists()


def test_the_command_prints_the_losses(gpt2_dir, texts, tmp_path):
    words = ["cache-eval", gpt2_dir, "--corpus", texts["corpus"], "--tokens", 100]
    words += ["--segment", SEGMENT, "--cache", CACHE, "--set", "precision=float32"]
    tuned = [*words, "--tune", texts["tune"], "--out", tmp_path / "r"]
    done = call(*tuned)
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    for name in ("static_loss", "cache_loss_longest", "difference", "cache_perplexity"):
        assert f"{summary[name]:.4f}" in done.out
    assert "96 tokens, 6 segments" in done.out
    assert json.loads(call(*tuned, "--json").out) == summary
    done = call(*words, "--weights", "a,b", "--out", tmp_path / "s")
    assert (done.code, "--weights" in done.err) == (2, True)
