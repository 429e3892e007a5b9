"""The length of a draft follows from what passes cost; no token does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collapse_lm import rng
from collapse_lm.inference import inference_network
from collapse_lm.inference.cpu import requirements
from collapse_lm.sampling import Drafter, Filters, prices_of, sample
from collapse_lm.sampling.prices import Prices, _interpolated

from conftest import tiny_gpt2, tiny_llama

costs = st.lists(st.floats(0.01, 3), min_size=16, max_size=16)
checks = st.lists(st.tuples(st.integers(1, 15), st.integers(0, 15)), max_size=12)


@given(costs, checks, st.integers(1, 15))
def test_the_length_is_the_best_by_trying_all(steps, checks, longest):
    seconds = [sum(steps[: place + 1]) for place in range(16)]
    prices, held, failed = Prices(seconds), 1.0, 1.0
    for proposed, good in checks:
        prices.tell(proposed, min(good, proposed))
        held, failed = 0.9 * held + min(good, proposed), 0.9 * failed + (good < proposed)
    p = held / (held + failed)
    pace = {n: sum(p**k for k in range(n + 1)) / seconds[n] for n in range(1, longest + 1)}
    assert pace[prices.best(longest)] == pytest.approx(max(pace.values()))


def test_drafts_are_long_where_they_hold_and_cost_nothing():
    flat, steep = Prices([1.0] * 16), Prices([1.0 + rows for rows in range(16)])
    for _ in range(20):
        flat.tell(15, 15)
        steep.tell(15, 0)
    assert flat.best(15) == 15
    assert steep.best(15) == 1


def test_rows_between_those_that_were_timed_are_interpolated_and_never_cheaper():
    found = _interpolated([1.0, 1.5, 1.4, 2.0, 4.0])
    assert len(found) == 16
    assert found == sorted(found)
    assert (found[0], found[1], found[7], found[15]) == (1.0, 1.5, 2.0, 4.0)
    assert found[11] == pytest.approx(3.0)


@pytest.mark.skipif(
    not requirements.can_compile(), reason="the kernels need numba, and torch on GNU's OpenMP"
)
@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
@pytest.mark.parametrize("slope", [0.0, 0.3, 5.0])
def test_no_price_changes_a_token(make, slope):
    network = inference_network(make(), "bfloat16")
    drafter = Drafter(15)
    for seed in range(12):
        uniforms = rng.uniforms(rng.stream(seed, "sample"), 1, 60)
        drafter.prices = Prices([1 + slope * rows for rows in range(16)])
        filters = Filters(0.5, 20)
        fast = sample(network, [256], uniforms, filters, drafter=drafter)
        assert fast.samples == sample(network, [256], uniforms, filters).samples


def test_prices_are_measured_where_a_row_stands_alone_and_only_there():
    assert prices_of(inference_network(tiny_gpt2(), "float32")) is None
    network = inference_network(tiny_gpt2(), "bfloat16")
    if network.is_row_exact:
        with torch.inference_mode():
            assert 1 <= prices_of(network).best(15) <= 15
