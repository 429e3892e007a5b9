"""Evaluation equals a sum token by token, and windows score each token exactly once."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collapse_lm.corpora.corpus import Corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.corpora.windows import plan_windows
from collapse_lm.inference import inference_network
from collapse_lm.measures.validation import evaluate

from conftest import PROSE, byte_tokenizer, tiny_gpt2

SIZES = st.integers(1, 400)


def corpus(text):
    return Corpus("test", text, "raw", "none", "test", "0")


def build(text, *plan):
    return EvaluationSet.build(corpus(text), byte_tokenizer(), 256, *plan)


@given(tokens=SIZES, context=SIZES, stride=SIZES)
def test_windows_score_every_token_once_and_fit_the_context(tokens, context, stride):
    windows = plan_windows(tokens, context, min(stride, context))
    scored = [t for w in windows for t in range(w.first_target, w.end)]
    assert scored == list(range(tokens))
    assert all(w.targets <= w.inputs <= context for w in windows)
    assert all(w.first_input <= w.first_target for w in windows)


@given(tokens=SIZES, context=SIZES, stride=SIZES, budget=SIZES)
def test_a_budget_takes_a_subset_of_the_full_plan(tokens, context, stride, budget):
    stride = min(stride, context)
    full = plan_windows(tokens, context, stride)
    some = plan_windows(tokens, context, stride, budget)
    assert set(some) <= set(full)
    assert len(set(some)) == len(some) >= 1
    assert abs(sum(w.targets for w in some) - min(budget, tokens)) <= context + stride


@pytest.mark.parametrize(
    ("context", "stride"), [(16, None), (16, 5), (128, None), (7, 1), (128, 40)]
)
def test_evaluation_equals_a_sum_token_by_token(context, stride):
    network = tiny_gpt2().double()
    text = PROSE[:150]
    data = build(text, context, stride)
    stream = data.ids.tolist()
    total, scored, end = 0.0, 0, min(context, 150)
    while scored < 150:
        for t in range(scored, end):
            seen = stream[max(0, end - context) : t + 1]
            with torch.no_grad():
                log_p = network(torch.tensor([seen])).logits[0, -1].log_softmax(-1)
            total -= log_p[stream[t + 1]].item()
        scored, end = end, min(150, end + (stride or context))
    found = evaluate(inference_network(network, "float32"), data)
    assert found.tokens == 150
    assert found.loss == pytest.approx(total / 150, rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert found.bits_per_byte == pytest.approx(total / math.log(2) / len(text.encode()), rel=1e-6)
    assert found.word_perplexity == pytest.approx(math.exp(total / len(text.split())), rel=1e-6)


@pytest.mark.parametrize(
    "text", ["naïve café — Ω", "日本語 text 🦊🦊 end", " two  spaces\n\nhere "]
)
def test_bytes_and_words_of_windows_add_up_to_the_text(text):
    data = build(text, 3)
    assert data.split_tokens == len(text.encode())
    assert data.scored_bytes == len(text.encode())
    assert data.scored_words == len(text.split())
    parts = [replace(data, windows=(window,)) for window in data.windows]
    assert sum(part.scored_bytes for part in parts) == data.scored_bytes
    assert sum(part.scored_words for part in parts) == data.scored_words


def test_special_tokens_in_a_text_are_plain_characters():
    data = build("a<|endoftext|>b", 8)
    assert 256 not in data.ids[1:].tolist()


def test_a_corpus_shorter_than_the_context_is_one_window():
    data = build("abc", 100)
    assert (len(data.windows), data.tokens) == (1, 3)


def test_evaluation_draws_no_random_number():
    network, data = tiny_gpt2(), build(PROSE, 32)
    before = torch.get_rng_state()
    first = evaluate(inference_network(network, "float32"), data)
    assert torch.equal(before, torch.get_rng_state())
    assert evaluate(inference_network(network, "float32"), data) == first
