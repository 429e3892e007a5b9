"""Two runs or groups of runs side by side: means, differences and intervals, by the seed."""

import json
import math
import random
from pathlib import Path

import pytest
from run_dirs import sweep, write_run
from scipy import stats

from collapse_lm.errors import UserError
from collapse_lm.report.page.build import make_page
from collapse_lm.report.page.compare import difference_of, shared_note, told_row
from collapse_lm.report.page.side_by_side import compare_folders

from hostile import call


def values(numbers, first_seed=0):
    return list(enumerate(numbers, first_seed))


A, B = (1.0, 2.5, 3.1, 4.0, 2.2), (1.4, 2.2, 3.9, 4.4, 2.9)


def test_groups_that_share_seeds_are_paired_as_scipy_pairs_them():
    found = difference_of(values(A), values(B))
    wanted = stats.ttest_rel(B, A).confidence_interval(0.95)
    assert (found.n, found.paired, found.note) == (5, True, "")
    assert found.difference == pytest.approx(sum(B) / 5 - sum(A) / 5)
    assert (found.lower, found.upper) == pytest.approx((wanted.low, wanted.high))


def test_groups_of_other_seeds_are_compared_as_welch_does():
    found = difference_of(values(A), values(B[:4], first_seed=100))
    wanted = stats.ttest_ind(B[:4], A, equal_var=False).confidence_interval(0.95)
    assert (found.n, found.paired) == (9, False)
    assert (found.lower, found.upper) == pytest.approx((wanted.low, wanted.high))


def test_the_order_of_runs_changes_nothing():
    a, b = values(A), values(B)
    shuffled = random.Random(0).sample(b, len(b))
    assert difference_of(a, shuffled) == difference_of(a, b)


def test_only_pairs_count_where_some_seeds_are_shared():
    found = difference_of(values(A), values(B, first_seed=2))
    assert (found.n, found.paired) == (3, True)
    assert found.a == pytest.approx(sum(A[2:]) / 3)
    assert found.note == "without a partner of the same seed: 4 of 10 runs"


def test_a_seed_that_stands_twice_pairs_nothing():
    assert not difference_of([*values(A), (0, 1.0)], values(B)).paired


@pytest.mark.parametrize(
    ("a", "b", "note"),
    [
        ([(0, 1.0)], [(0, 2.0)], "one run each gives no interval"),
        ([(0, 1.0)], [(1, 2.0)], "one run each gives no interval"),
        (values(A), [(9, 2.0)], "a single run gives no interval"),
        (values(A), [(9, math.nan)], "one of the two has no such value"),
        (values((1, 2, 3)), values((2, 3, 4)), "all pairs differ alike, which gives no interval"),
        (values((1, 1)), values((2, 2), 5), "runs of a group are alike, which gives no interval"),
    ],
)
def test_what_gives_no_interval_says_why(a, b, note):
    found = difference_of(a, b)
    assert math.isnan(found.lower)
    assert math.isnan(found.upper)
    assert found.note == note
    assert found.row()["lower"] is None


def test_runs_without_a_value_are_left_out_and_counted():
    found = difference_of([*values(A), (5, math.nan)], [*values(B), (5, 1.0)])
    assert found.n == 5
    assert found.note.startswith("no such value in 1 of 12 runs")


def test_nineteen_of_twenty_intervals_hold_the_true_difference():
    generator, held = random.Random(1), 0
    for _ in range(1000):
        seeds = [generator.gauss(0, 2) for _ in range(6)]
        a = values(seed + generator.gauss(0, 1) for seed in seeds)
        b = values(seed + 0.5 + generator.gauss(0, 1) for seed in seeds)
        found = difference_of(a, b)
        held += found.lower <= 0.5 <= found.upper
    assert 930 <= held <= 970


# --- of runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    sweep(folder, {1e-5: [22, 20, 25], 1e-4: [8, 9, 10]})
    return folder


def row(rows, name, at="end"):
    return next(one for one in rows if (one["name"], one["at"]) == (name, at))


def test_the_time_to_collapse_comes_first(rates):
    found = compare_folders(rates / "rate0", rates / "rate1").rows
    assert found[0]["name"] == "collapse_update"
    assert (found[0]["a"], found[0]["b"], found[0]["n"]) == (pytest.approx(67 / 3, abs=1e-3), 9, 3)


def test_rows_begin_with_what_is_asked_first(rates):
    found = compare_folders(rates / "rate0", rates / "rate1").rows
    kinds = dict.fromkeys(one["name"].partition("[")[0] for one in found)
    assert list(kinds)[:3] == ["collapse_update", "validation.loss", "validation.perplexity"]
    firsts = list(dict.fromkeys(name.partition(".")[0] for name in kinds))
    assert firsts == ["collapse_update", "validation", "train", "text", "probe"]


def test_the_page_knows_what_is_no_result(rates):
    names = make_page([rates]).content["compared"]["names"]
    assert names[0] == "validation.loss[sotu]"
    assert not any(name.startswith(("train.lr", "seconds")) for name in names)


def test_losses_are_compared_at_the_end_at_the_collapse_and_where_they_are_lowest(rates):
    rows = compare_folders(rates / "rate0", rates / "rate1").rows
    name = "validation.loss[sotu]"
    assert row(rows, name, "collapse")["b"] == pytest.approx(3.09)
    assert row(rows, name, "end")["b"] == pytest.approx(3.13)
    assert row(rows, name, "lowest")["difference"] == 0
    assert {one["at"] for one in rows if one["name"] == "train.loss"} == {"end", "lowest"}
    assert not any(one["name"].startswith(("seconds", "train.lr")) for one in rows)


def test_the_command_and_the_page_have_the_same_numbers(rates):
    page = make_page([rates]).content
    shown = call("compare", rates / "rate0", rates / "rate1", "--json")
    assert shown.code == 0
    assert json.loads(shown.out)["rows"] == page["compare"][0]["rows"]


def test_times_of_runs_that_did_not_collapse_have_no_mean(tmp_path):
    sweep(tmp_path, {1e-5: [None, 20], 1e-4: [8, 9]})
    found = compare_folders(tmp_path / "rate0", tmp_path / "rate1").rows[0]
    assert (found["a"], found["b"], found["difference"], found["n"]) == (None, None, None, 0)
    assert found["note"] == "no time to collapse in 1 of 4 runs: survival curves compare them"


def test_the_command_says_what_the_two_are_and_what_they_differ_in(rates):
    shown = call("compare", rates / "rate0", rates / "rate1")
    lines = shown.out.splitlines()
    assert lines[0] == f"A  {rates}/rate0: 3 runs; 3 collapsed"
    assert lines[2] == "training.learning_rate: 1e-05 in A, 0.0001 in B"
    assert any("validation loss (sotu), at the end" in line for line in lines)
    assert "3 pairs" in shown.out


def test_a_folder_of_several_configurations_is_pooled_and_says_so(rates):
    shown = call("compare", rates, rates / "rate1")
    assert "6 runs, of 2 configurations, which are pooled" in shown.out


def test_two_single_runs_have_differences_without_intervals(tmp_path):
    write_run(tmp_path / "a", collapse=8)
    write_run(tmp_path / "b", collapse=9)
    found = compare_folders(tmp_path / "a", tmp_path / "b")
    assert row(found.rows, "collapse_update", "collapse")["difference"] == 1
    assert all(one["lower"] is None for one in found.rows)
    assert "Collapsed at update 8" in next(found.lines())


SO = "so that the difference is not of the models alone"


def with_corpus(run, **values):
    """Give a run other facts of its corpus."""
    path = run.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["corpora"][0] |= values
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("a", "b", "note"),
    [
        ({"tokens": 1024}, {"tokens": 512}, f"measured on other tokens: 1,024 and 512, {SO}"),
        ({}, {"tokens": 512}, f"measured on other tokens: all and 512, {SO}"),
        ({}, {"context": 64}, f"measured in other contexts: 512 and 64, {SO}"),
        ({}, {"sha256": "1"}, f"measured on other text (sha256): 0 and 1, {SO}"),
        (
            {"scored_bytes": 9},
            {"scored_bytes": 8},
            f"measured on other bytes of text: 9 and 8, {SO}",
        ),
        ({"scored_bytes": 9}, {"scored_bytes": 9, "tokens": 512}, ""),
    ],
)
def test_what_was_measured_on_something_else_says_so_and_has_no_interval(tmp_path, a, b, note):
    for side, given in (("a", a), ("b", b)):
        asked = [f"evaluation.{k}={v}" for k, v in given.items() if k in ("tokens", "context")]
        for seed, loss in enumerate((0.1, 0.3, 0.2) if side == "a" else (0.2, 0.5, 0.1)):
            run = write_run(
                tmp_path / side / str(seed),
                seed=seed,
                overrides=asked,
                validation=lambda update, _, loss=loss: 3 + update * loss,
            )
            with_corpus(run, **{k: v for k, v in given.items() if k not in ("tokens", "context")})
    rows = compare_folders(tmp_path / "a", tmp_path / "b").rows
    found = row(rows, "validation.loss[sotu]")
    assert found["note"] == note
    assert (found["lower"] is None) is bool(note)
    assert found["difference"] is not None
    assert "measured" not in row(rows, "train.loss")["note"]


def test_what_holds_for_all_rows_is_told_once(tmp_path):
    write_run(tmp_path / "a" / "run", collapse=8)
    write_run(tmp_path / "b" / "run", collapse=9, rate=1e-5)
    shown = call("compare", tmp_path / "a", tmp_path / "b").out
    assert shown.count("no interval") == 1
    assert shown.index("One run each gives no interval.") < shown.index("collapse update")
    (pair,) = make_page([tmp_path]).content["compare"]
    assert pair["note"] == "one run each gives no interval"
    assert not any("interval" in one["note"] for one in pair["rows"])


def test_a_reason_of_some_rows_stays_with_them():
    few = difference_of([(0, 1.0)], [(1, 2.0)]).row()
    many = difference_of(values(A), values(B)).row()
    missing = difference_of([(0, math.nan)], [(1, 2.0)]).row()
    assert shared_note([few, many]) == ("", [few, many])
    note, rows = shared_note([few, missing])
    assert note == "one run each gives no interval"
    assert [one["note"] for one in rows] == ["", "one of the two has no such value"]


def test_a_row_in_words():
    told = {"validation.loss[x]": {"title": "validation loss (x)"}}
    found = {"name": "validation.loss[x]", "at": "end", **difference_of(values(A), values(B)).row()}
    assert told_row(found, told)[0] == "validation loss (x), at the end"
    assert told_row(found, told)[5] == "5 pairs"


@pytest.mark.parametrize("name", ["gone", "empty", "damaged"])
def test_what_cannot_be_compared_is_refused(tmp_path, name):
    write_run(tmp_path / "good")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "damaged")
    (tmp_path / "damaged" / "manifest.json").write_text("{}")
    with pytest.raises(UserError):
        compare_folders(tmp_path / "good", tmp_path / name)
    shown = call("compare", tmp_path / "good", tmp_path / name)
    assert shown.code == 2
    assert Path(name).name in shown.err


def test_pairs_that_differ_by_rounding_alone_have_no_interval():
    found = difference_of(values((0.165829, 0.185930)), values((0.030151, 0.050251)))
    assert math.isnan(found.lower)
    assert "all pairs differ alike" in found.note
