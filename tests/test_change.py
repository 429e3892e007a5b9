"""The change of a validation loss and its standard error."""

import importlib.util
import json
import math
from pathlib import Path

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


def by_window(values):
    """Loss changes by window and block as `change` takes them: 64 tokens a block."""
    moved = 64 * np.asarray(values)
    return np.zeros(moved.size), moved.ravel(), [[64] * moved.shape[1]] * len(moved)


def test_the_error_of_windows_that_differ_is_that_of_a_bootstrap_over_windows():
    random = np.random.default_rng(0)
    windows = [random.integers(20, 65, 8) for _ in range(1000)]
    moved = [(random.normal(0, 0.5) + random.normal(0.5, 1, 8)) * sizes for sizes in windows]
    before = random.normal(3, 1, 8000)
    found = change(before, before + np.concatenate(moved), windows, of_split=10**9)
    sums = np.array([(of.sum(), sizes.sum()) for of, sizes in zip(moved, windows, strict=True)])
    resampled = sums[random.integers(1000, size=(2000, 1000))].sum(axis=1)
    assert found.mean == pytest.approx(sums[:, 0].sum() / sums[:, 1].sum())
    assert found.error == pytest.approx((resampled[:, 0] / resampled[:, 1]).std(), rel=0.06)


def test_windows_that_agree_better_than_chance_leave_the_error_of_a_bootstrap_over_blocks():
    random = np.random.default_rng(0)
    values = random.normal(0.5, 1, (4, 16))
    values -= values.mean(axis=1, keepdims=True)  # four windows with the same mean, by chance
    found = change(*by_window(values), of_split=10**9)
    resampled = values.ravel()[random.integers(64, size=(20_000, 64))].mean(axis=1)
    assert found.error == pytest.approx(resampled.std(), rel=0.03)


def test_the_error_of_a_small_example_by_hand():
    values = np.repeat([[0.0], [1.0], [1.0], [2.0]], 8, axis=1)  # windows apart, blocks alike
    found = change(*by_window(values), of_split=2 * 4 * 8 * 64)
    assert found.mean == 1
    assert found.error == pytest.approx(math.sqrt((1 + 0 + 1) / 3 / 2 / 4 / 2))  # of half a split


def test_what_all_of_a_split_says_is_sure_and_little_text_says_nothing():
    before, after, windows = by_window(np.arange(40.0).reshape(5, 8))
    assert change(before, after, windows, of_split=40 * 64).error == 0
    half = change(before, after, windows, of_split=80 * 64).error
    assert half == pytest.approx(change(before, after, windows, 10**12).error / math.sqrt(2))
    assert math.isnan(change(before[:29], after[:29], [[64] * 28, [64]], 10**6).error)
    assert math.isnan(change(before, after, [[64] * 40], 10**6).error)
    assert change(before, after, [[64] * 40], 40 * 64).error == 0


@pytest.mark.parametrize("windows", [4, 8, 16])
@pytest.mark.parametrize("together", [0, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("drift", [0, 1])
def test_the_error_is_the_spread_over_other_budgets(windows, together, drift):
    """Blocks of a window correlate by `together`; from its first to its last word a text drifts."""
    random = np.random.default_rng(1)
    places = (np.arange(windows) + random.random((1000, 1))) / windows
    shared = random.normal(drift * places, math.sqrt(together))[..., None]
    values = shared + random.normal(0, math.sqrt(1 - together), (1000, windows, 8))
    found = [change(*by_window(one), of_split=10**9) for one in values]
    spread = np.std([one.mean for one in found], ddof=1)
    assert 1 / 1.2 < np.mean([one.error for one in found]) / spread < 1.2
    covered = np.mean([abs(one.mean - drift / 2) < 2 * one.error for one in found])
    assert 0.8 < covered < 0.98  # two errors; of four windows Student's t asks for more


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


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "docs" / "scripts" / "measure_change_error.py"
    spec = importlib.util.spec_from_file_location("measure_change_error", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_record_and_the_record_keeps_to_the_rule(script):
    record = json.loads(script.RECORD.read_text("utf-8"))
    assert script.tables(record) in script.PAGE.read_text("utf-8")
    assert {row["update"] for row in record["agreement"]} == set(script.UPDATES)
    assert all(1 / 1.5 < row["ratio"] < 1.5 for row in record["agreement"])


def test_budgets_are_disjoint_spread_evenly_and_judged_by_their_own_errors(script):
    before, after = np.zeros((120, 16)), np.repeat(np.arange(120.0)[:, None], 16, axis=1)
    found = script.agree(8, before, after, windows=4, split=10**9)  # of every 30th window
    assert (found["budgets"], found["tokens"]) == (30, 2048)
    assert found["change"] == pytest.approx(59.5 / 32, rel=1e-3)
    assert found["spread"] == pytest.approx(np.std(np.arange(30), ddof=1) / 32, rel=1e-3)
    assert found["error"] == pytest.approx(30 / math.sqrt(2 * 4) / 32, rel=1e-3)
