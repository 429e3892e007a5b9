"""Passes over many rows on the processor's dot product: right against float64, row by row."""

import pytest
import torch
from numba import njit
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from collapse_lm import rng
from collapse_lm.inference import inference_network, kernels
from collapse_lm.inference.kernels import dots, many_rows, team
from collapse_lm.inference.kernels.many_rows import ADD, GATED, GELU, STORE
from collapse_lm.inference.written_out import FastNetwork

pytestmark = pytest.mark.skipif(
    not (kernels.are_available() and dots.is_available()), reason="no AVX512-BF16"
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng.stream(seed, "init"))


@pytest.fixture(params=[1, 2, 3], ids=["1 thread", "2 threads", "3 threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@njit(nogil=True)
def linear_part(a, thread, threads):
    own = a[8] + 4 * thread * a[9]
    many_rows.linear(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], own, thread, threads)


def linear(kind, x, weight, bias, out):
    """Run `many_rows.linear` on the team; `out` is changed and returned."""
    private = many_rows.linear_scratch(x.shape[1])
    scratch = torch.full((torch.get_num_threads(), private), torch.nan)
    shift = 0 if bias is None else bias.data_ptr()
    sizes = [kind, *x.shape, out.shape[1]]
    addresses = [x.data_ptr(), weight.data_ptr(), shift, out.data_ptr(), scratch.data_ptr()]
    team.run(linear_part, [*sizes, *addresses, private])
    return out


FOLLOWS = {
    STORE: lambda product, _: product,
    ADD: lambda product, before: product + before,
    GELU: lambda product, _: functional.gelu(product, approximate="tanh"),
    GATED: lambda product, _: (
        functional.silu(product.chunk(2, dim=-1)[0]) * product.chunk(2, dim=-1)[1]
    ),
}


@pytest.mark.parametrize("kind", FOLLOWS, ids=["store", "add", "gelu", "gated"])
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 32), (47, 96), (48, 32), (49, 64), (150, 32)])
def test_a_product_and_what_follows_it_are_those_of_float64(kind, outputs, inputs, threads):
    weight = normal(2 * outputs if kind == GATED else outputs, inputs, seed=1).bfloat16()
    bias = None if kind == GATED else normal(outputs, seed=2)
    dtype = torch.float32 if kind == ADD else torch.bfloat16
    x = normal(19, inputs).bfloat16()
    product = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    for rows in (1, 7, 8, 9, 19):
        before = normal(rows, outputs, seed=3).to(dtype)
        found = linear(kind, x[-rows:], weight, bias, before.clone())
        wanted = FOLLOWS[kind](product[-rows:], before.double())
        error = 1e-5 if kind == ADD else 1.01 * 2**-8
        torch.testing.assert_close(found.double(), wanted, rtol=error, atol=2e-5)


def test_gelu_holds_at_any_size_and_what_is_no_number_stays_so():
    x = torch.zeros(7, 32, dtype=torch.bfloat16)
    outputs = 49  # a whole panel and the beginning of another
    values = [-1e30, -20.0, -0.5, 0.0, 20.0, 1e30, torch.nan]
    x[:, 0] = torch.tensor(values)
    weight = torch.zeros(outputs, 32, dtype=torch.bfloat16)
    weight[:, 0] = 1
    found = linear(GELU, x, weight, None, torch.zeros(7, outputs, dtype=torch.bfloat16))
    wanted = functional.gelu(x[:, :1].double(), approximate="tanh").expand(7, outputs)
    torch.testing.assert_close(found.double()[:6], wanted[:6], rtol=2**-8, atol=1e-7)
    assert found[6].isnan().all()


@njit(nogil=True)
def attention_part(a, thread, threads):
    own = a[7] + 4 * thread * a[8]
    many_rows.attention(a[0], a[1], a[2], a[3], a[4], a[5], a[6], own, thread, threads)


def attention(qkv, heads, groups):
    """Run `many_rows.attention` on (B, S, H + 2 G, d)."""
    batch, tokens, _, width = qkv.shape
    private = many_rows.attention_scratch(tokens, width)
    scratch = torch.full((torch.get_num_threads(), private), torch.nan)
    out = torch.empty(batch, tokens, heads, width, dtype=torch.bfloat16)
    addresses = [tensor.data_ptr() for tensor in (qkv, out, scratch)]
    team.run(attention_part, [batch, tokens, heads, groups, width, *addresses, private])
    return out


@pytest.mark.parametrize("tokens", [1, 2, 7, 47, 48, 49, 100, 131])
@pytest.mark.parametrize(
    ("heads", "groups", "width"), [(3, 3, 32), (4, 2, 64), (2, 1, 96), (2, 2, 128)]
)
def test_attention_is_that_of_float64(tokens, heads, groups, width, threads):
    qkv = (2 * normal(3, tokens, heads + 2 * groups, width)).bfloat16()
    q, k, v = (part.double().transpose(1, 2) for part in qkv.split([heads, groups, groups], dim=2))
    wanted = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    found = attention(qkv, heads, groups)
    torch.testing.assert_close(found.double().transpose(1, 2), wanted, rtol=0.01, atol=0.02)
    assert torch.equal(attention(qkv[1:2].clone(), heads, groups), found[1:2])
    shorter = max(1, tokens - 5)
    assert torch.equal(attention(qkv[:, :shorter].clone(), heads, groups), found[:, :shorter])


def test_the_loss_is_that_of_float64(threads):
    hidden, weight = normal(21, 32).bfloat16(), (2 * normal(5001, 32, seed=1)).bfloat16()
    targets = torch.randint(5001, (21,), generator=rng.stream(3, "init"))
    targets[0], targets[1] = 0, 5000
    logits = hidden.double() @ weight.double().T
    wanted = functional.cross_entropy(logits, targets, reduction="none")
    found = kernels.loss_by_tiles(hidden, weight, targets)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    hidden[3] = torch.nan
    spoiled = kernels.loss_by_tiles(hidden, weight, targets)
    assert torch.equal(spoiled.isnan(), torch.arange(21) == 3)
    assert torch.equal(spoiled[:3], found[:3])
    assert torch.equal(kernels.loss_by_tiles(hidden[7:], weight, targets[7:]), found[7:])


def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=257, n_positions=128, n_embd=96, n_layer=2, n_head=3)
    config.initializer_range = 0.2
    return GPT2LMHeadModel(config).eval()


def llama():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=128,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


needs_passes = pytest.mark.skipif(not dots.is_fastest(), reason="torch's products are faster here")


@pytest.fixture(params=[gpt2, llama], ids=["gpt2", "llama"])
def master(request):
    master = request.param()
    with torch.no_grad():
        for parameter in master.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * normal(*parameter.shape))
            else:  # values that bfloat16 holds exactly, so that only activations are rounded
                parameter.copy_(parameter.bfloat16())
    return master


@needs_passes
def test_a_pass_is_closer_to_float64_than_torch_in_bfloat16(master, threads):
    network = inference_network(master, "bfloat16")
    eager = FastNetwork(network._arch)
    ids = torch.randint(257, (3, 101), generator=rng.stream(3, "init"))
    with torch.inference_mode():
        found, theirs = (net.logits(net.hidden(ids).flatten(0, 1)) for net in (network, eager))
        wanted = master.double()(ids).logits.flatten(0, 1)
    error, their_error = ((logits.double() - wanted).norm() for logits in (found, theirs))
    assert error < 0.9 * their_error
    assert error < 0.04 * wanted.norm()


@needs_passes
def test_a_row_has_the_same_bits_whatever_lies_beside_it(master, threads):
    network = inference_network(master, "bfloat16")
    ids = torch.randint(257, (3, 101), generator=rng.stream(3, "init"))
    found = network.hidden(ids)
    assert torch.equal(network.hidden(ids[1:2]), found[1:2])
    assert torch.equal(network.hidden(ids[:, :50]), found[:, :50])
    torch.set_num_threads(2)
    assert torch.equal(network.hidden(ids), found)


@needs_passes
def test_passes_over_whole_sequences_do_not_disturb_a_cache(master):
    network = inference_network(master, "bfloat16")
    ids = torch.randint(257, (1, 60), generator=rng.stream(3, "init"))
    cache = network.new_cache(1, 80)
    alone = torch.cat([network.hidden(part, cache) for part in ids.split(20, dim=1)], dim=1)
    cache = network.new_cache(1, 80)
    cache.keys.fill_(torch.nan)
    cache.values.fill_(torch.nan)
    parts = []
    for part in ids.split(20, dim=1):
        parts.append(network.hidden(part, cache))
        network.hidden(ids.repeat(5, 1))
    assert torch.equal(torch.cat(parts, dim=1), alone)
