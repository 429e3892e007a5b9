"""Causal attention in blocks is that of the definition."""

import pytest
import torch
from torch.nn import functional

from collapse_lm import rng
from collapse_lm.inference import inference_network
from collapse_lm.inference.attention import causal_attention

from conftest import tiny_gpt2, tiny_llama
from families import tiny_model


def inputs(heads, groups, tokens, dtype, batch=2, width=16):
    numbers = rng.stream(0, "init")
    shapes = [(batch, count, tokens, width) for count in (heads, groups, groups)]
    return [torch.randn(*shape, generator=numbers).to(dtype) for shape in shapes]


def by_definition(q, k, v):
    q, k, v = q.double(), k.double(), v.double()
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    tokens = q.shape[2]
    later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("tokens", [1, 2, 100, 127, 128, 129, 300])
@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (4, 4), (3, 1)])
@pytest.mark.parametrize(
    ("dtype", "slack"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)]
)
def test_it_is_that_of_the_definition(heads, groups, tokens, dtype, slack):
    q, k, v = inputs(heads, groups, tokens, dtype)
    found = causal_attention(q, k, v)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), by_definition(q, k, v), rtol=slack, atol=slack)


def test_no_later_key_is_seen():
    q, k, v = inputs(6, 2, 200, torch.bfloat16)
    before = causal_attention(q, k, v)
    k[:, :, 150:], v[:, :, 150:] = 9, 9
    assert torch.equal(causal_attention(q, k, v)[:, :, :128], before[:, :, :128])
    torch.testing.assert_close(causal_attention(q, k, v)[:, :, :150], before[:, :, :150])


@pytest.mark.parametrize("asked", [1, 2, 130, 299])
@pytest.mark.parametrize(
    ("dtype", "slack"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)]
)
def test_fewer_queries_than_keys_are_those_of_the_last_tokens(asked, dtype, slack):
    q, k, v = inputs(6, 2, 300, dtype)
    found = causal_attention(q[:, :, -asked:], k, v)
    wanted = by_definition(q, k, v)[:, :, -asked:]
    torch.testing.assert_close(found.double(), wanted, rtol=slack, atol=slack)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("last", [1, 5, 40, 41, 60])
@pytest.mark.parametrize("family", [tiny_gpt2, tiny_llama, lambda: tiny_model("gpt_neox")])
def test_states_of_the_last_tokens_alone_are_those_of_a_whole_pass(family, last, precision):
    master = family() if precision == "bfloat16" else family().double()
    network = inference_network(master, precision)
    ids = torch.randint(200, (3, 41), generator=rng.stream(3, "init"))
    found, whole = network.hidden(ids, last=last), network.hidden(ids)[:, -last:]
    slack = 0.03 if precision == "bfloat16" else 1e-12
    torch.testing.assert_close(found, whole, rtol=slack, atol=slack)
    cached = network.hidden(ids, network.new_cache(3, 41), last=last)
    assert torch.equal(cached, network.hidden(ids, network.new_cache(3, 41))[:, -last:])


def test_the_last_block_computes_no_more_rows_than_are_asked_for(monkeypatch):
    rows, gelu = [], functional.gelu

    def seen(x_ND, **how):
        rows.append(len(x_ND))
        return gelu(x_ND, **how)

    monkeypatch.setattr(functional, "gelu", seen)
    inference_network(tiny_gpt2(), "float32").hidden(torch.ones(3, 41, dtype=torch.long), last=2)
    assert rows == [3 * 41, 3 * 2]
