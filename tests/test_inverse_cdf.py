"""The sampler draws from the softmax, whatever the filters, and reads one uniform per token."""

import math

import pytest
import torch
from scipy import stats
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from collapse_lm import rng
from collapse_lm.sampling import Filters, entropy, log_probabilities, pick, probabilities
from collapse_lm.sampling.inverse_cdf import choices, penalised

FILTERS = [
    Filters(),
    Filters(temperature=0.8),
    Filters(temperature=2.5),
    Filters(top_k=7),
    Filters(top_p=0.7),
    Filters(temperature=0.8, top_k=12, top_p=0.9),
    Filters(min_p=0.2),
    Filters(temperature=1.5, top_k=12, top_p=0.9, min_p=0.1),
    Filters(temperature=0.8, top_k=12, excluded=(3, 7, 29)),
]


def reference_distribution(logits, filters):
    """The definition, token by token in Python floats."""
    scaled = [value / filters.temperature for value in logits.tolist()]
    highest = max(scaled)
    weights = [torch.tensor(v - highest, dtype=torch.float64).exp().item() for v in scaled]
    weights = [0.0 if token in filters.excluded else w for token, w in enumerate(weights)]
    if filters.top_k is not None:
        smallest = sorted(weights, reverse=True)[filters.top_k - 1]
        weights = [w if w >= smallest else 0.0 for w in weights]
    if filters.top_p is not None:
        total, mass = sum(weights), 0.0
        for weight in sorted(weights, reverse=True):
            mass += weight
            if mass >= filters.top_p * total:
                weights = [w if w >= weight else 0.0 for w in weights]
                break
    weights = [w if w >= filters.min_p * max(weights) else 0.0 for w in weights]
    return [w / sum(weights) for w in weights]


@pytest.mark.parametrize("filters", FILTERS)
def test_probabilities_are_the_definition(filters):
    logits = torch.randn(3, 40, generator=rng.stream(0, "init"), dtype=torch.float64)
    for row, found in zip(logits, probabilities(logits, filters), strict=True):
        expected = torch.tensor(reference_distribution(row, filters), dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_picks_follow_the_distribution(filters, dtype):
    draws = 20_000
    logits = (2 * torch.randn(1, 30, generator=rng.stream(1, "init"))).to(dtype)
    uniforms = rng.uniforms(rng.stream(2, "sample"), draws, 1)[:, 0]
    picks = pick(logits.expand(draws, -1), uniforms, filters)
    expected = torch.tensor(reference_distribution(logits[0].double(), filters)) * draws
    counts = torch.bincount(picks, minlength=30)
    kept = expected > 0
    assert counts[~kept].sum() == 0
    frequent = expected > 5
    rest = kept & ~frequent
    observed = [*counts[frequent].tolist(), int(counts[rest].sum())]
    wanted = [*expected[frequent].tolist(), float(expected[rest].sum())]
    pairs = [(o, w) for o, w in zip(observed, wanted, strict=True) if w > 0]
    scale = sum(o for o, _ in pairs) / sum(w for _, w in pairs)
    assert stats.chisquare([o for o, _ in pairs], [w * scale for _, w in pairs]).pvalue > 1e-3


def test_a_wrong_distribution_would_be_caught():
    draws = 20_000
    logits = 2 * torch.randn(1, 30, generator=rng.stream(1, "init"))
    uniforms = rng.uniforms(rng.stream(2, "sample"), draws, 1)[:, 0]
    counts = torch.bincount(pick(logits.expand(draws, -1), uniforms, Filters(0.8)), minlength=30)
    wrong = torch.tensor(reference_distribution(logits[0], Filters(1.0))).double() * draws
    frequent = wrong > 5
    scale = counts[frequent].sum() / wrong[frequent].sum()
    assert stats.chisquare(counts[frequent], wrong[frequent] * scale).pvalue < 1e-6


def test_each_uniform_picks_the_token_whose_interval_holds_it():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log().expand(9, -1)
    uniforms = torch.tensor([0.0, 0.09, 0.11, 0.29, 0.31, 0.59, 0.61, 0.99, 1 - 2**-53])
    picks = pick(logits, uniforms.double(), Filters())
    assert picks.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3]


def test_the_largest_uniform_never_picks_a_filtered_token():
    logits = torch.tensor([[3.0, 2.0, 1.0, -1.0, -2.0]])
    largest = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert pick(logits, largest, Filters(top_k=2)).item() == 1


def test_temperature_zero_is_greedy():
    logits = torch.tensor([[1.0, 4.0, 2.0]])
    assert pick(logits, torch.tensor([0.99]).double(), Filters(temperature=0)).item() == 1
    assert probabilities(logits, Filters(temperature=0)).tolist() == [[0.0, 1.0, 0.0]]


def test_ties_at_the_edge_of_top_k_are_kept():
    logits = torch.tensor([[1.0, 2.0, 1.0, 0.0]])
    assert (probabilities(logits, Filters(top_k=2)) > 0).tolist() == [[True, True, True, False]]


def test_entropy_is_that_of_the_unfiltered_softmax():
    logits = torch.randn(4, 50, generator=rng.stream(3, "init"))
    expected = stats.entropy(logits.double().softmax(-1).numpy(), axis=-1)
    found = entropy(log_probabilities(logits)).double()
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=0)


def test_a_token_that_is_impossible_adds_nothing_to_the_entropy():
    logits = torch.tensor([0.0, 0.0, -torch.inf])
    assert log_probabilities(logits)[2] == -torch.inf
    assert entropy(log_probabilities(logits)).item() == pytest.approx(math.log(2))


def test_log_probabilities_are_in_float32_at_least():
    logits = 2 * torch.randn(3, 50, generator=rng.stream(3, "init"))
    wanted = logits.bfloat16().double().log_softmax(-1)
    found = log_probabilities(logits.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)


def test_streams_differ_by_seed_purpose_and_update_and_repeat():
    names = [(0, "sample", 1), (1, "sample", 1), (0, "window", 1), (0, "sample", 2)]
    draws = [rng.uniforms(rng.stream(*name), 1, 4) for name in names]
    assert len({tuple(draw[0].tolist()) for draw in draws}) == len(names)
    assert torch.equal(draws[0], rng.uniforms(rng.stream(0, "sample", 1), 1, 4))


def test_a_stream_is_the_same_in_every_process():
    drawn = rng.uniforms(rng.stream(0, "sample", 1), 1, 2)[0].tolist()
    assert drawn == pytest.approx([0.9269015324781501, 0.5291702225889994], abs=0)


@pytest.mark.parametrize("top_p", [None, 0.9])
def test_a_short_cut_over_the_top_k_picks_the_same_tokens(top_p):
    logits = normal_logits(200, 300)
    logits[::7, 40:60] = logits[::7, 40:41]  # ties, some of them at the edge
    uniforms = rng.uniforms(rng.stream(4, "sample"), 200, 1)[:, 0]
    filters = Filters(0.7, top_k=25, top_p=top_p)
    cdf = probabilities(logits, filters).cumsum(dim=-1)
    wanted = torch.searchsorted(cdf, uniforms[:, None] * cdf[:, -1:], right=True)[:, 0]
    found = torch.cat([pick(logits[i : i + 1], uniforms[i : i + 1], filters) for i in range(200)])
    assert torch.equal(found, wanted)
    assert torch.equal(pick(logits, uniforms, filters), wanted)


def normal_logits(rows, vocabulary):
    return torch.randn(rows, vocabulary, generator=rng.stream(3, "init"), dtype=torch.float64)


@pytest.mark.parametrize("filters", [*FILTERS, Filters(temperature=0)])
def test_the_entropy_of_what_is_drawn_from_is_that_of_its_distribution(filters):
    logits = 2 * torch.randn(5, 40, generator=rng.stream(3, "init"), dtype=torch.float64)
    wanted = stats.entropy(probabilities(logits, filters).numpy(), axis=-1)
    assert choices(logits, filters).entropy().tolist() == pytest.approx(wanted, abs=1e-9)


def test_the_filters_are_those_of_transformers_in_their_order():
    logits = 2 * torch.randn(6, 60, generator=rng.stream(4, "init"), dtype=torch.float64)
    warpers = [
        TemperatureLogitsWarper(1.3),
        TopKLogitsWarper(20),
        TopPLogitsWarper(0.85),
        MinPLogitsWarper(0.15),
    ]
    scores = logits
    for warper in warpers:
        scores = warper(None, scores)
    found = probabilities(logits, Filters(1.3, 20, 0.85, 0.15))
    torch.testing.assert_close(found, scores.softmax(-1), rtol=1e-12, atol=0)
    without = probabilities(logits, Filters(1.3, 20, 0.85))
    assert ((found > 0).sum(-1) < (without > 0).sum(-1)).any()


def test_what_is_excluded_is_never_the_greedy_choice():
    logits = torch.tensor([[1.0, 5.0, 2.0]])
    assert pick(logits, torch.tensor([0.5]).double(), Filters(0, excluded=(1,))).item() == 2


@pytest.mark.parametrize("penalty", [0.5, 1.2, 3.0])
def test_a_repetition_penalty_is_that_of_transformers(penalty):
    logits = torch.randn(40, generator=rng.stream(0, "init"), dtype=torch.float64)
    ids = [3, 17, 3, 3, 39]
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([ids]), logits[None])[0]
    assert penalised(logits, ids, penalty).tolist() == theirs.tolist()
    assert (theirs != logits).sum() == 3
