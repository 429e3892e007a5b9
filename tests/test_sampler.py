"""Cached equals uncached, sliding equals a plain forward, samples equal the definition."""

import pytest
import torch

from collapse_lm import rng
from collapse_lm.sampling import Filters, entropy, pick, sample
from collapse_lm.sampling.decoder import CachedDecoder, SlidingDecoder

from conftest import tiny_gpt2, tiny_llama

MODELS = {"gpt2": tiny_gpt2, "llama": tiny_llama}


@pytest.fixture(params=MODELS)
def network(request):
    return MODELS[request.param]().double()


def random_ids(batch, length):
    return torch.randint(256, (batch, length), generator=rng.stream(0, "init"))


@pytest.mark.parametrize("batch", [1, 3])
def test_cached_logits_equal_uncached(network, batch):
    ids = random_ids(batch, 50)
    decoder = CachedDecoder(network)
    found = [decoder.append(ids[:, :7])] + [decoder.append(ids[:, t : t + 1]) for t in range(7, 50)]
    with torch.no_grad():
        expected = network(ids).logits[:, 6:]
    torch.testing.assert_close(torch.stack(found, 1), expected, rtol=1e-10, atol=1e-10)


def test_sliding_logits_equal_a_plain_forward_of_100_tokens_at_every_position(network):
    ids = random_ids(1, 128)
    decoder = SlidingDecoder(network, block_size=100)
    for t in range(128):
        found = decoder.append(ids[:, t : t + 1])
        with torch.no_grad():
            expected = network(ids[:, max(0, t - 99) : t + 1]).logits[:, -1]
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_sliding_takes_a_prompt_longer_than_the_block(network):
    ids = random_ids(1, 20)
    with torch.no_grad():
        expected = network(ids[:, -8:]).logits[:, -1]
    torch.testing.assert_close(SlidingDecoder(network, 8).append(ids), expected)


@pytest.mark.parametrize("block_size", [None, 10])
def test_a_sample_is_drawn_token_by_token_with_one_uniform_each(network, block_size):
    filters, prompt = Filters(0.8, top_k=50), [3, 1, 4]
    uniforms = rng.uniforms(rng.stream(5, "sample"), 2, 30)
    draw = sample(network, prompt, uniforms, filters, block_size=block_size)
    entropies = []
    for row, ids in enumerate(draw.samples):
        sequence = list(prompt)
        for t, token in enumerate(ids):
            seen = sequence if block_size is None else sequence[-block_size:]
            with torch.no_grad():
                logits = network(torch.tensor([seen])).logits[:, -1]
            assert pick(logits, uniforms[row, t : t + 1], filters).item() == token
            entropies.append(entropy(logits).item())
            sequence.append(token)
    assert draw.entropy == pytest.approx(sum(entropies) / len(entropies), rel=1e-9)
    assert (draw.tokens, draw.forward_passes) == (60, 30)


def test_a_row_does_not_depend_on_its_batch(network):
    uniforms = rng.uniforms(rng.stream(6, "sample"), 3, 20)
    together = sample(network, [256], uniforms, Filters(0.9))
    alone = [sample(network, [256], uniforms[row : row + 1], Filters(0.9)) for row in range(3)]
    assert together.samples == tuple(draw.samples[0] for draw in alone)


def test_stop_token_ends_each_sample_where_it_stands(network):
    uniforms = rng.uniforms(rng.stream(7, "sample"), 4, 40)
    whole = sample(network, [256], uniforms, Filters(1.0))
    stop = whole.samples[0][5]
    cut = sample(network, [256], uniforms, Filters(1.0), stop_token=stop)
    for full, short in zip(whole.samples, cut.samples, strict=True):
        end = full.index(stop) + 1 if stop in full else len(full)
        assert short == full[:end]
