"""The machine code: right against float64, and the same bits whatever lies beside a row."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from collapse_lm import rng
from collapse_lm.inference import inference_network
from collapse_lm.inference.cpu import openmp, passes, requirements, tile
from collapse_lm.inference.cpu.layout import AVX2, AVX512, layout_for
from collapse_lm.inference.cpu.network import CompiledNetwork
from collapse_lm.inference.cpu.rows import exponential, gelu_of, silu_of
from collapse_lm.inference.linear import SplitLinear
from collapse_lm.inference.written_out import FastNetwork

from conftest import tiny_gpt2, tiny_llama

pytestmark = pytest.mark.skipif(
    not requirements.can_compile(), reason="the kernels need numba, and torch on GNU's OpenMP"
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng.stream(seed, "init"))


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def rounded(master):
    """Give the matrices values that bfloat16 holds exactly, so that only the sums can differ."""
    with torch.no_grad():
        for parameter in master.parameters():
            if parameter.dim() == 2:
                parameter.copy_(parameter.bfloat16())
            else:
                parameter.add_(0.1 * normal(*parameter.shape))
    return master


@pytest.fixture(params=[tiny_gpt2, tiny_llama], ids=["gpt2", "llama"])
def master(request):
    return rounded(request.param())


@pytest.fixture(params=["bfloat16", "float32"])
def precision(request, monkeypatch):
    monkeypatch.setattr(requirements, "_SMALLEST", 0)
    return request.param


def network_of(master, precision):
    network = inference_network(master, precision, decodes=True)
    assert isinstance(network, CompiledNetwork)
    return network


def weights(outputs, inputs, precision):
    """Weights, and the copy of them that a product reads."""
    weight = normal(outputs, inputs, seed=1)
    if precision == "float32":
        return weight, SplitLinear([weight]).weight_OK
    return weight.bfloat16(), weight.bfloat16()


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 32), (7, 64), (64, 96), (257, 32)])
def test_a_product_is_that_of_float64_and_each_row_stands_alone(
    outputs, inputs, threads, precision
):
    x, (true, weight) = normal(11, inputs), weights(outputs, inputs, precision)
    found = passes.matrix_product(x, weight)
    torch.testing.assert_close(found.double(), x.double() @ true.double().T, rtol=0, atol=1e-5)
    for rows in (1, 2, 3, 4, 5, 9):
        assert torch.equal(passes.matrix_product(x[-rows:], weight), found[-rows:])


@pytest.mark.parametrize("layout", [AVX512, AVX2], ids=["16 lanes", "8 lanes"])
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 32), (7, 64), (9, 1536)])
def test_each_layout_is_right_and_a_row_stands_alone_in_it(layout, outputs, inputs, precision):
    """Vectors wider than the processor's are several of its own: slower, and as right."""
    multiply = tile.product_in(layout)
    x, (true, weight) = normal(11, inputs), weights(outputs, inputs, precision)
    size = weight.element_size()

    def product(x):
        rows = len(x)
        split = x.view(rows, inputs // 2, 2).transpose(1, 2).contiguous()
        out = torch.full((rows, outputs), torch.nan)
        multiply(
            *(weight.data_ptr(), size, split.data_ptr(), inputs, rows, 0, outputs),
            *(out.data_ptr(), outputs),
        )
        return out

    found, wanted = product(x), x.double() @ true.double().T
    # Each of the sums takes inputs / lanes steps, and each step rounds once, by 2^-24.
    bound = (inputs / layout.lanes + 8) * 2**-24 * (x.double().abs() @ true.double().abs().T)
    assert bool(((found.double() - wanted).abs() <= bound).all())
    for rows in range(1, 10):
        assert torch.equal(product(x[-rows:]), found[-rows:])


def test_the_layout_follows_from_the_processor():
    assert layout_for(frozenset({"avx2", "fma", "avx512f"})) == AVX512
    assert layout_for(frozenset({"avx2", "fma", "sse2"})) == AVX2
    assert layout_for(frozenset({"sse2"})) is None
    assert layout_for(frozenset({"neon"})) is None


def test_exponential_is_within_two_units_in_the_last_place():
    numbers = np.linspace(-87, 88, 20_001, dtype=np.float32)
    found = np.array([exponential(x) for x in numbers], dtype=np.float32)
    wanted = np.exp(numbers.astype(np.float64))
    assert np.max(np.abs(found - wanted) / np.spacing(wanted.astype(np.float32))) < 2
    assert np.isnan(exponential(np.float32("nan")))
    assert exponential(np.float32("-inf")) < 2e-38


def test_activations_are_those_of_float64_at_any_size():
    numbers = torch.cat([torch.linspace(-9, 9, 1001), torch.tensor([-1e30, -20.0, 0, 20, 1e30])])
    wide = numbers.double()
    for compiled, wanted in [
        (gelu_of, functional.gelu(wide, approximate="tanh")),
        (silu_of, functional.silu(wide)),
    ]:
        found = torch.tensor([compiled(np.float32(x)) for x in numbers], dtype=torch.float64)
        torch.testing.assert_close(found, wanted, rtol=2e-6, atol=1e-6)
        assert np.isnan(compiled(np.float32("nan")))


def feed(network, ids, widths, capacity=100):
    """Hidden states of the last axis' tokens, fed in passes of these widths."""
    cache = network.new_cache(len(ids), capacity)
    parts = torch.split(ids, widths, dim=1)
    return torch.cat([network.hidden(part, cache) for part in parts], dim=1)


def test_passes_are_those_of_float64(master, threads, precision):
    network = network_of(master, precision)
    ids = torch.randint(257, (2, 40), generator=rng.stream(3, "init"))
    hidden = feed(network, ids, [40])
    logits = network.logits(hidden.flatten(0, 1))
    with torch.inference_mode():
        wanted = master.double()(ids).logits.flatten(0, 1)
    torch.testing.assert_close(logits.double(), wanted, rtol=1e-5, atol=1e-5 * float(wanted.std()))


def test_a_row_has_the_same_bits_in_every_batch_shape(master, threads, precision):
    network = network_of(master, precision)
    ids = torch.randint(257, (3, 40), generator=rng.stream(3, "init"))
    one_by_one = feed(network, ids[:1], [1] * 40)
    for batch, widths in [(1, [40]), (3, [40]), (2, [1] * 40), (3, [3, 17, 1, 8, 11])]:
        assert torch.equal(feed(network, ids[:batch], widths)[:1], one_by_one)


def test_sequences_of_different_lengths_share_a_pass(master, precision):
    network = network_of(master, precision)
    ids = torch.randint(257, (2, 40), generator=rng.stream(3, "init"))
    cache = network.new_cache(2, 100)
    network.hidden(ids[:, :20], cache)
    cache.rewind([20, 13])
    together = network.hidden(torch.stack([ids[0, 20:25], ids[1, 13:18]]), cache)
    assert torch.equal(together[0], feed(network, ids[:1, :25], [25])[0, 20:])
    assert torch.equal(together[1], feed(network, ids[1:, :18], [18])[0, 13:])


def test_passes_without_a_cache_and_losses_are_those_of_torch(master, precision):
    network = network_of(master, precision)
    eager = FastNetwork(network._arch)
    ids = torch.randint(257, (3, 41), generator=rng.stream(3, "init"))
    cache = network.new_cache(3, 41)
    cached = network.hidden(ids, cache)
    hidden = network.hidden(ids)
    assert torch.equal(hidden, eager.hidden(ids))
    targets = ids.flatten()
    one, other = hidden.flatten(0, 1), cached.flatten(0, 1)
    assert torch.equal(network.nll(one, targets), eager.nll(one, targets))
    losses = network.nll(other, targets)
    wanted = functional.cross_entropy(network.logits(other), targets, reduction="none")
    torch.testing.assert_close(losses, wanted.double(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "change", [{"n_inner": 96}, {"n_embd": 96, "n_head": 32}, {"n_embd": 96, "n_inner": 32}]
)
def test_unusual_sizes_are_right_by_one_way_or_the_other(change):
    settings = {"vocab_size": 257, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
    torch.manual_seed(0)
    master = rounded(GPT2LMHeadModel(GPT2Config(**{**settings, **change})).eval())
    network = inference_network(master, "bfloat16")
    ids = torch.randint(257, (2, 20), generator=rng.stream(3, "init"))
    logits = network.logits(feed(network, ids, [5] * 4).flatten(0, 1)).double()
    with torch.inference_mode():
        wanted = master.double()(ids).logits.flatten(0, 1)
    error = (logits - wanted).norm() / wanted.norm()
    assert error < (1e-5 if isinstance(network, CompiledNetwork) else 0.02)


def test_a_token_past_the_cache_is_refused(master):
    network = inference_network(master, "bfloat16")
    cache = network.new_cache(1, 20)
    with pytest.raises(IndexError, match="do not fit a cache of 1 sequences of 32"):
        network.hidden(torch.zeros(1, 33, dtype=torch.long), cache)


def test_a_refresh_takes_over_every_weight(master, precision):
    network = network_of(master, precision)
    ids = torch.randint(257, (1, 10), generator=rng.stream(3, "init"))
    with torch.no_grad():
        for parameter in master.parameters():
            parameter.mul_(1.25)
    network.refresh()
    fresh = network_of(master, precision)
    found, wanted = (net.logits(feed(net, ids, [10])[0]) for net in (network, fresh))
    assert torch.equal(found, wanted)


BESIDE_ANOTHER = """
import ctypes, sys
import torch
other = ctypes.CDLL(sys.argv[1], mode=getattr(ctypes, sys.argv[2]))
assert other.omp_get_max_threads() > 0
from collapse_lm.inference.cpu import openmp
maps = [line.split() for line in open("/proc/self/maps") if "libgomp" in line]
for address in openmp.functions().values():
    for span, *_, path in maps:
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= address < last:
            print(path)
"""


@pytest.fixture
def another_library(tmp_path):
    """GNU's OpenMP library as another package would bring it, in a place named after torch."""
    own = Path(torch.__file__).parent / "lib"
    found = sorted([*own.glob("libgomp*"), *own.parent.with_name("torch.libs").glob("libgomp*")])
    if openmp.functions() is None or not found:
        pytest.skip("a torch without a libgomp of its own")
    folder = tmp_path / "a-part-of-torch"
    folder.mkdir()
    return found[0], Path(shutil.copy(found[0], folder / "libgomp-0.so.1"))


def in_a_process(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("mode", ["RTLD_LOCAL", "RTLD_GLOBAL"])
def test_the_openmp_library_is_that_of_torch_whatever_else_is_loaded(another_library, mode):
    torchs, other = another_library
    assert set(in_a_process(BESIDE_ANOTHER, other, mode).split()) == {str(torchs)}


def test_no_library_is_taken_for_that_of_a_torch_with_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # whatever a library is told
    assert openmp.functions.__wrapped__() is None


def test_a_small_model_is_not_worth_the_code_in_float32(master):
    assert isinstance(inference_network(master, "float32", decodes=True), FastNetwork)


def test_what_never_decodes_holds_no_copy(monkeypatch, master):
    monkeypatch.setattr(requirements, "_SMALLEST", 0)
    assert isinstance(inference_network(master, "float32"), FastNetwork)
