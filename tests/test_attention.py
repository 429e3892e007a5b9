"""Causal attention in blocks is that of the definition."""

import pytest
import torch

from collapse_lm import rng
from collapse_lm.inference.attention import causal_attention


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
