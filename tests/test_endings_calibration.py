"""The script that counts false alarms of the endings, on draws with known answers."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PATH = ROOT / "docs" / "scripts" / "calibrate_endings.py"


@pytest.fixture(scope="module")
def script():
    spec = spec_from_file_location("calibrate_endings", PATH)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def draws(script, ids, entropies):
    count, length = ids.shape
    flat = np.repeat(np.asarray(entropies, float)[:, None], length, axis=1)
    losses = np.full((count, length), 3.0)
    rows = [tuple(row) for row in ids.tolist()]
    return script.Draws("made up", rows, list(losses), list(flat), [length] * count)


@pytest.fixture
def healthy(script, monkeypatch):
    monkeypatch.setattr(script, "UPDATES", 40)
    monkeypatch.setattr(script, "STARTS", 4)
    numbers = np.random.Generator(np.random.PCG64(1))
    return numbers.integers(0, 5000, (60, 50)), np.full(60, 3.0)


def entries(script, made):
    return {
        (line["reference"], line["state"]): (line["showing"], line["entries"])
        for line in script.alarms(made, 50)
    }


def test_healthy_draws_raise_no_alarm(script, healthy):
    found = entries(script, draws(script, *healthy))
    assert {*found.values()} == {(0, 0)}
    assert {reference for reference, _ in found} == {script.FIRST, script.SAMPLES}


def test_loops_in_a_row_are_one_alarm_and_alone_are_none(script, healthy):
    ids, entropies = healthy
    ids[[3, 11, *range(20, 26)]] = 7
    found = entries(script, draws(script, ids, entropies))
    assert found[script.FIRST, "loop"] == (8, 1)
    assert found[script.FIRST, "mode (entropy)"] == (0, 0)


def test_a_high_entropy_counts_as_noise_only_after_a_drift(script, healthy):
    ids, entropies = healthy
    entropies[10:20] = 4.0
    found = entries(script, draws(script, ids, entropies))
    assert found[script.SAMPLES, "noise"] == (0, 0)
    assert found[script.SAMPLES, script.AFTER_DRIFT] == (10, 1)


def test_the_levels_of_base_samples_are_those_of_the_further_draws(script, healthy):
    ids, entropies = healthy
    entropies[40:] = 9.0
    found = entries(script, draws(script, ids, entropies))
    assert found[script.SAMPLES, "mode (entropy)"] == (40, 1)
    assert found[script.FIRST, "mode (entropy)"] == (0, 0)


def test_the_interval_is_that_of_clopper_and_pearson(script):
    assert script.clopper_pearson(0, 1000) == (0, pytest.approx(0.003682, abs=1e-6))
    low, high = script.clopper_pearson(5, 10)
    assert (low, high) == (pytest.approx(0.1871, abs=1e-4), pytest.approx(0.8129, abs=1e-4))


def test_the_page_has_the_tables_of_the_committed_results(script):
    _, _, rest = script.PAGE.read_text(encoding="utf-8").partition(script.BEGIN)
    assert rest.partition(script.END)[0].strip() == script.render()


def test_by_length_counts_what_repeats_and_reads_4_grams_of_any_length(script, healthy):
    ids, entropies = healthy
    told = script.by_length(draws(script, ids, entropies), 50)
    assert (told["degenerate"], told["distinct_4"], told["entries"]) == ("0", "1", 0)
    ids = np.repeat(ids, 20, axis=1)[:, :600]  # each token twenty times in a row
    told = script.by_length(draws(script, ids, entropies), 600)
    assert (told["degenerate"], told["entries"]) == ("1", 1)
    assert float(told["distinct_4"]) < 0.3
    unread = script.alarms(draws(script, ids, entropies), 600)
    kept = [line for line in unread if line["state"] == "mode (distinct)"]
    assert [line["entries"] for line in kept if line["reference"] == script.FIRST] == [0]
