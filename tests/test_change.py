"""The change of a validation loss and its standard error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_parts import numbers

import collapse_lm
from collapse_lm import RunReader
from collapse_lm.measures.change import block_sizes, change


@given(st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_blocks_cover_each_window_evenly_in_at_most_64_tokens(windows):
    blocks = block_sizes(windows)
    assert [sum(sizes) for sizes in blocks] == windows
    assert max(size for sizes in blocks for size in sizes) <= 64
    assert all(max(sizes) - min(sizes) <= 1 for sizes in blocks)
    if sum(windows) >= 30:
        assert sum(map(len, blocks)) >= 30


def test_the_error_is_that_of_a_bootstrap_over_blocks():
    random = np.random.default_rng(0)
    sizes = random.integers(20, 65, 60)
    before, after = random.normal(3, 1, 60) * sizes, random.normal(3.5, 1.2, 60) * sizes
    found = change(before, after, sizes, of_split=10**9)
    drawn = random.integers(60, size=(20_000, 60))
    means = (after - before)[drawn].sum(1) / sizes[drawn].sum(1)
    assert found.mean == pytest.approx(((after - before).sum()) / sizes.sum())
    assert found.error == pytest.approx(means.std(), rel=0.03)


def test_what_all_of_a_split_says_is_sure_and_few_blocks_say_nothing():
    sizes = [64] * 40
    before, after = np.zeros(40), np.arange(40.0)
    assert change(before, after, sizes, of_split=40 * 64).error == 0
    half = change(before, after, sizes, of_split=80 * 64).error
    assert half == pytest.approx(change(before, after, sizes, 10**12).error / math.sqrt(2))
    assert math.isnan(change(before[:29], after[:29], sizes[:29], 10**6).error)


def test_the_error_is_the_spread_over_other_budgets():
    """Windows of a long text with a topic of its own in each stretch."""
    random = np.random.default_rng(1)
    moved = random.normal(0.5, 1, 30 * 64).reshape(-1) + np.repeat(random.normal(0, 0.1, 240), 8)
    budgets = moved.reshape(48, 40).T  # 40 budgets of 48 blocks, spread evenly
    found = [change(np.zeros(48), 64 * one, [64] * 48, 10**9) for one in budgets]
    spread = np.std([one.mean for one in found], ddof=1)
    assert spread / 1.5 < np.mean([one.error for one in found]) < 1.5 * spread


def test_a_run_records_the_change_and_a_resume_goes_on_with_it(
    tiny_overrides, prose_file, tmp_path
):
    words = [*tiny_overrides, "evaluation.tokens=128", "run.checkpoint_every=2"]
    whole = collapse_lm.run("quickstart", tmp_path / "whole", overrides=words)
    short = [*words, "run.max_updates=4"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=short)
    collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=6"])
    assert numbers(tmp_path / "r") == numbers(whole.directory)
    rows, corpus = RunReader(tmp_path / "r").updates(), f"text:{prose_file}"
    assert f"validation.change[{corpus}]" not in rows[0].values
    for row in rows[1:]:
        moved = row.get(f"validation.loss[{corpus}]") - rows[0].get(f"validation.loss[{corpus}]")
        assert row.get(f"validation.change[{corpus}]") == pytest.approx(moved, abs=1e-9)
        assert row.get(f"validation.change_se[{corpus}]") >= 0
