"""Cached equals uncached, sliding equals a plain forward, samples equal the definition."""

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from collapse_lm import rng
from collapse_lm.inference import inference_network
from collapse_lm.inference.generic import GenericNetwork
from collapse_lm.inference.written_out import FastNetwork
from collapse_lm.sampling import (
    Drafter,
    Filters,
    entropy,
    log_probabilities,
    pick,
    probabilities,
    sample,
)
from collapse_lm.sampling.sliding import SlidingDecoder

from conftest import tiny_gpt2, tiny_llama

MASTERS = {"gpt2": tiny_gpt2, "llama": tiny_llama}
FAST = {name: (name, False) for name in MASTERS}
KINDS = {**FAST, "generic-gpt2": ("gpt2", True), "generic-llama": ("llama", True)}


@pytest.fixture(params=KINDS)
def both(request):
    """The model of transformers, and the network that stands in for it, in float64."""
    name, is_generic = KINDS[request.param]
    master = MASTERS[name]().double()
    if is_generic:
        return master, GenericNetwork(master, torch.float64)
    return master, inference_network(master, "float32")


def random_ids(batch, length, update=0):
    return torch.randint(256, (batch, length), generator=rng.stream(0, "init", update))


@torch.no_grad()
def plain_logits(master, ids):
    return master(ids).logits


def close(found, wanted, master):
    """Equal in float64; transformers runs Llama's norms and rotations in float32 at best."""
    tolerance = 1e-10 if master.config.model_type == "gpt2" else 2e-5
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("step", [1, 4])
def test_cached_logits_equal_uncached(both, batch, step):
    master, network = both
    ids = random_ids(batch, 51)
    cache = network.new_cache(batch, 51)
    parts = [ids[:, :7], *ids[:, 7:].split(step, dim=1)]
    hidden = torch.cat([network.hidden(part, cache) for part in parts], dim=1)
    cached = network.logits(hidden.flatten(0, 1)).view(batch, 51, -1)
    uncached = network.logits(network.hidden(ids).flatten(0, 1)).view(batch, 51, -1)
    close(uncached, plain_logits(master, ids), master)
    tolerance = 1e-10 if isinstance(network, FastNetwork) else 2e-5
    torch.testing.assert_close(cached, uncached, rtol=tolerance, atol=tolerance)


def test_a_rewound_cache_is_as_if_the_tokens_had_not_been_fed(both):
    master, network = both
    right, wrong = random_ids(1, 30), random_ids(1, 9, update=1)
    cache = network.new_cache(1, 60)
    network.hidden(right[:, :20], cache)
    network.hidden(wrong, cache)
    cache.rewind([20])
    found = network.logits(network.hidden(right[:, 20:], cache)[0])
    close(found, plain_logits(master, right)[0, 20:], master)


@pytest.mark.parametrize("name", MASTERS)
def test_sequences_of_one_cache_may_differ_in_length(name):
    master = MASTERS[name]().double()
    network = inference_network(master, "float32")
    ids = random_ids(3, 40)
    cache = network.new_cache(3, 60)
    network.hidden(ids[:, :20], cache)
    cache.rewind([20, 7, 13])
    feeds = torch.stack([ids[b, n : n + 5] for b, n in enumerate([20, 7, 13])])
    hidden = network.hidden(feeds, cache)
    for b, n in enumerate([20, 7, 13]):
        wanted = plain_logits(master, ids[b : b + 1, : n + 5])[0, n:]
        close(network.logits(hidden[b]), wanted, master)


def test_sliding_logits_equal_a_plain_forward_of_100_tokens_at_every_position(both):
    master, network = both
    ids = random_ids(1, 128)
    decoder = SlidingDecoder(network, batch=1, block_size=100)
    for t in range(128):
        found = decoder.append(ids[:, t : t + 1])
        close(found, plain_logits(master, ids[:, max(0, t - 99) : t + 1])[:, -1], master)


def test_a_model_that_keeps_its_state_elsewhere_is_read_from_its_start():
    torch.manual_seed(2)
    config = MambaConfig(
        vocab_size=257, hidden_size=16, state_size=4, num_hidden_layers=2, expand=2
    )
    master = MambaForCausalLM(config).eval()
    network = inference_network(master, "float32")
    uniforms = rng.uniforms(rng.stream(5, "sample"), 1, 12)
    for drafter in (None, Drafter(4)):
        draw = sample(network, [1, 2, 3], uniforms, Filters(0.8), drafter=drafter)
        sequence = [1, 2, 3]
        for t, token in enumerate(draw.samples[0]):
            logits = plain_logits(master, torch.tensor([sequence]))[:, -1]
            assert pick(logits, uniforms[0, t : t + 1], Filters(0.8)).item() == token
            sequence.append(token)


def test_logits_that_are_not_numbers_pick_a_token_of_the_vocabulary():
    logits = torch.full((1, 5), float("nan"))
    assert pick(logits, torch.tensor([0.5]).double(), Filters(0.8, 3)).item() < 5


def test_sliding_takes_a_prompt_longer_than_the_block(both):
    master, network = both
    ids = random_ids(1, 20)
    found = SlidingDecoder(network, 1, 8).append(ids)
    close(found, plain_logits(master, ids[:, -8:])[:, -1], master)


@pytest.mark.parametrize("name", MASTERS)
def test_bfloat16_follows_the_master_and_refreshes_in_place(name):
    master = MASTERS[name]()
    network = inference_network(master, "bfloat16")
    ids = random_ids(1, 30)
    with torch.no_grad():
        for parameter in master.parameters():
            parameter.mul_(1.3)
    network.refresh()
    wanted = plain_logits(master, ids)[0]
    found = network.logits(network.hidden(ids)[0])
    assert found.dtype == torch.float32
    error = (found - wanted).norm() / wanted.norm()
    assert error < 0.05
    fresh = inference_network(master, "bfloat16")
    assert torch.equal(found, fresh.logits(fresh.hidden(ids)[0]))


def test_the_head_loses_nothing_to_the_rounding_of_bfloat16():
    master = tiny_llama()
    network = inference_network(master, "bfloat16")
    hidden = network.hidden(random_ids(1, 30))[0]
    weight = master.lm_head.weight.bfloat16().double()
    wanted = hidden.double() @ weight.T
    assert (network.logits(hidden) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert (wanted.bfloat16() - wanted).abs().max() > 1e-3 * wanted.abs().max()


@pytest.mark.parametrize("block_size", [None, 10])
def test_a_sample_is_drawn_token_by_token_with_one_uniform_each(both, block_size):
    master, network = both
    filters, prompt = Filters(0.8, top_k=50), [3, 1, 4]
    uniforms = rng.uniforms(rng.stream(5, "sample"), 2, 30)
    draw = sample(network, prompt, uniforms, filters, block_size=block_size)
    entropies, drawn, log_probs = [], [], []
    for row, ids in enumerate(draw.samples):
        sequence = list(prompt)
        for t, token in enumerate(ids):
            seen = sequence if block_size is None else sequence[-block_size:]
            with torch.no_grad():
                logits = master(torch.tensor([seen])).logits[:, -1]
            assert pick(logits, uniforms[row, t : t + 1], filters).item() == token
            log_p = log_probabilities(logits)
            entropies.append(entropy(log_p).item())
            drawn.append(entropy(probabilities(logits, filters).log()).item())
            log_probs.append(log_p[0, token].item())
            sequence.append(token)
    assert draw.entropy == pytest.approx(sum(entropies) / len(entropies), rel=1e-4)
    assert draw.sampling_entropy == pytest.approx(sum(drawn) / len(drawn), rel=1e-4)
    assert draw.sampling_entropy < draw.entropy
    assert draw.prompts == ((3, 1, 4), (3, 1, 4))
    assert [len(values) for values in draw.log_probs] == [30, 30]
    assert [x for values in draw.log_probs for x in values] == pytest.approx(log_probs, rel=1e-4)
    assert [len(values) for values in draw.entropies] == [30, 30]
    assert [x for values in draw.entropies for x in values] == pytest.approx(entropies, rel=1e-4)
    assert (draw.tokens, draw.forward_passes) == (60, 30)


def test_a_row_does_not_depend_on_its_batch(both):
    _, network = both
    uniforms = rng.uniforms(rng.stream(6, "sample"), 3, 20)
    together = sample(network, [256], uniforms, Filters(0.9))
    alone = [sample(network, [256], uniforms[row : row + 1], Filters(0.9)) for row in range(3)]
    assert together.samples == tuple(draw.samples[0] for draw in alone)


@pytest.mark.parametrize("drafter", [None, Drafter(6)])
def test_stop_token_ends_each_sample_where_it_stands(both, drafter):
    _, network = both
    uniforms = rng.uniforms(rng.stream(7, "sample"), 4, 40)
    whole = sample(network, [256], uniforms, Filters(1.0))
    stop = whole.samples[0][5]
    cut = sample(network, [256], uniforms, Filters(1.0), stop_token=stop, drafter=drafter)
    for full, short in zip(whole.samples, cut.samples, strict=True):
        end = full.index(stop) + 1 if stop in full else len(full)
        assert short == full[:end]
