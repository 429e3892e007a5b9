"""The loop detector and the other text metrics, on made and on real sequences."""

import itertools
import json
import math
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collapse_lm.measures import find_loop, measure_samples, seq_rep
from collapse_lm.measures.text import Loop, compression, distinct

REAL = json.loads((Path(__file__).parent / "data" / "real_samples.json").read_text())


def prose(length, seed=0):
    """Tokens with the frequencies of words (Zipf), without a loop."""
    weights = [1 / rank for rank in range(1, 2001)]
    return random.Random(seed).choices(range(2000), weights, k=length)


def loop(period, length):
    return list(itertools.islice(itertools.cycle(range(5000, 5000 + period)), length))


@pytest.mark.parametrize("period", [1, 5, 37, 50])
def test_a_pure_loop_is_found_with_its_period(period):
    assert find_loop(loop(period, 200)) == Loop(period, 0, 200, 1.0)


@pytest.mark.parametrize("period", [1, 5, 37])
def test_a_loop_that_starts_late_is_found_where_it_starts(period):
    found = find_loop(prose(80) + loop(period, 120))
    assert found == Loop(period, 80, 120, 0.6)


def test_the_smallest_period_of_a_loop_is_reported():
    assert find_loop([1, 2, 1, 2] * 50).period == 2


def test_a_period_past_a_quarter_of_the_sample_is_no_loop():
    assert find_loop(loop(51, 200)) is None


def test_one_period_and_a_half_is_no_loop():
    assert (
        find_loop([*range(100), *range(7000, 7030), *range(7000, 7015), *range(200, 255)]) is None
    )


def test_a_counting_sequence_is_no_loop_though_every_fourth_token_repeats():
    counting = [token for number in range(50) for token in (9001, number, 9002, 9003)]
    found = find_loop(counting)
    assert found is None or found.share < 0.1


def test_ordinary_prose_is_no_loop():
    shares = [find_loop(prose(200, seed)) for seed in range(20)]
    assert all(found is None or found.share < 0.1 for found in shares)


@pytest.mark.parametrize("sample", REAL["loops"])
def test_real_collapsed_samples_are_loops_with_the_period_seen_by_eye(sample):
    found = find_loop(sample["ids"])
    assert found.period == sample["period"]
    assert found.share >= 0.5


@pytest.mark.parametrize("sample", REAL["base"])
def test_real_samples_of_the_base_model_are_not_degenerate(sample):
    found = find_loop(sample["ids"])
    assert found is None or found.share < 0.5
    assert seq_rep(sample["ids"]) < 0.6


def slow_loop(ids):
    """The definition, without vectorisation: try every period and every start."""
    best = None
    for period in range(1, len(ids) // 4 + 1):
        for start in range(len(ids) - period):
            end = start + period
            while end < len(ids) and ids[end] == ids[end - period]:
                end += 1
            length = end - start
            if length >= max(4, 2 * period) and (best is None or length > best.length):
                best = Loop(period, start, length, length / len(ids))
    return best


@given(st.lists(st.integers(0, 3), max_size=40))
def test_find_loop_is_its_definition(ids):
    assert find_loop(ids) == slow_loop(ids)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=30))
def test_seq_rep_counts_the_repeated_n_grams(ids):
    grams = [tuple(ids[i : i + 4]) for i in range(len(ids) - 3)]
    repeated = sum(gram in grams[:i] for i, gram in enumerate(grams))
    assert seq_rep(ids) == pytest.approx(repeated / len(grams))


def test_what_is_undefined_is_nan():
    assert math.isnan(distinct([1, 2, 3], 4))
    assert math.isnan(compression(""))
    assert find_loop([]) is None


def test_compression_is_compressed_bytes_over_raw_bytes():
    text = "the same words again and again " * 30
    assert compression(text) == len(zlib.compress(text.encode(), 9)) / len(text.encode()) < 0.1


def test_metrics_of_a_batch_are_means_over_its_samples():
    samples = [loop(2, 20), prose(20)]
    texts = ["ab" * 10, "words of all kinds"]
    both = measure_samples(samples, texts)
    alone = [measure_samples([ids], [text]) for ids, text in zip(samples, texts, strict=True)]
    assert both.loop_share == pytest.approx(sum(one.loop_share for one in alone) / 2)
    assert both.seq_rep_4 == pytest.approx(sum(one.seq_rep_4 for one in alone) / 2)
    assert both.distinct_1 == pytest.approx(sum(one.distinct_1 for one in alone) / 2)
    assert both.loop_period == 2


def test_a_sample_too_short_for_a_metric_does_not_hide_the_others():
    both = measure_samples([[1], loop(2, 20)], ["", "ab" * 10])
    assert both.seq_rep_4 == measure_samples([loop(2, 20)], ["ab" * 10]).seq_rep_4
    assert both.compression == compression("ab" * 10)
    assert math.isnan(measure_samples([[1]], [""]).seq_rep_4)
