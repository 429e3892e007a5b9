"""Outcomes, tables and claims from made-up run directories whose truth is known."""

import csv
import io
import json
import math
import re
from functools import partial

import pytest
from run_dirs import HOSTILE, rising, sweep, write_run
from scipy.stats import beta

from collapse_lm.analysis.claims.course import course_claims
from collapse_lm.analysis.claims.judge import judge_claims, main_runs
from collapse_lm.analysis.claims.units import units_of
from collapse_lm.analysis.claims.verdicts import decide, fewest_above, share_of
from collapse_lm.analysis.curves import mean_curve
from collapse_lm.analysis.levels import name_parameters, name_rate, sort_group
from collapse_lm.analysis.outcomes import measure_runs
from collapse_lm.analysis.stats.trend import Interval
from collapse_lm.analysis.tables import runs_table, survival_table, updates_table
from collapse_lm.report.claims_page import claims_markdown

FASTER = {2e-5: [26, 28, 24], 4e-5: [17, 20, 15], 8e-5: [9, 11, 12]}
SLOWER = {8e-5: [26, 28, 24], 4e-5: [17, 20, 15], 2e-5: [9, 11, 12]}
NO_EFFECT = {2e-5: [12, 20, 16], 4e-5: [13, 17, 21], 8e-5: [14, 18, 15]}
NEVER = {2e-5: [None] * 3, 8e-5: [None] * 3}
SIZES = {("a", 10**5): [26, 28, 24], ("b", 10**6): [17, 20, 15], ("c", 10**7): [9, 11, 12]}
FIVE = SIZES | {("d", 3 * 10**7): [6, 7, 8], ("e", 10**8): [3, 4, 5]}
SIX = FIVE | {("f", 2 * 10**8): [2, 3, 2]}
RISES, TREND, RATE, ZERO, SIZE, ALIKE, CONSISTENT = range(7)
AT_UPDATE, AT_DOSE, FALLS, LASTS, DEGRADES = range(7, 12)


def measured(readers):
    return measure_runs(readers)[0]


def judged(folder, times, **options):
    return judge_claims({"learning rate": measured(sweep(folder, times, **options))})


def sizes(folder, times, validation=None, **options):
    """Runs of several models; `validation` may depend on the model too."""
    return [
        write_run(
            folder / model / str(s),
            seed=s,
            collapse=c,
            model=model,
            parameters=n,
            validation=partial(validation, model=model) if validation else rising,
            **options,
        )
        for (model, n), collapses in times.items()
        for s, c in enumerate(collapses)
    ]


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


# Outcomes


def test_an_outcome_by_hand(tmp_path):
    run = write_run(
        tmp_path / "run",
        collapse=8,
        rate=3e-5,
        seed=7,
        corpora=("sotu", "ptb"),
        temperature=1.1,
        length=50,
        max_updates=40,
    )
    (found,) = measured([run])
    outcome = found.outcome
    assert (outcome.run, outcome.time, outcome.observed, outcome.updates) == ("run", 8, True, 12)
    assert (outcome.learning_rate, outcome.seed, outcome.temperature) == (3e-5, 7, 1.1)
    assert (outcome.sample_length, outcome.max_updates) == (50, 40)
    assert outcome.corpora == ("sotu", "ptb")
    assert outcome.validation["sotu"] == pytest.approx((3.0, 3.08, 3.12))
    assert outcome.validation["ptb"] == pytest.approx((4.0, 4.08, 4.12))
    assert outcome.train_first == pytest.approx(3 - 2.95 / 8)
    assert (outcome.train_last, outcome.train_lowest) == (0.05, 0.05)
    assert (outcome.loop_share, outcome.seq_rep_4, outcome.repetitive) == pytest.approx(
        (0.9, 0.8, 1)
    )
    assert outcome.criteria == ("loop_share", "seq_rep_4", "train_loss")


def test_the_last_five_samples_stand_for_the_end(tmp_path):
    run = write_run(tmp_path / "run", collapse=8, stop=False, updates=10, max_updates=99)
    (found,) = measured([run])
    assert not found.outcome.observed  # a streak of 3 is no collapse, whatever comes after
    assert (found.outcome.time, found.outcome.updates) == (10, 10)
    assert found.outcome.repetitive == pytest.approx(3 / 5)
    assert found.outcome.loop_share == pytest.approx(0.9 * 3 / 5)
    assert math.isnan(found.outcome.validation["sotu"][1])


def test_the_rule_in_the_configuration_judges_not_the_summary(tmp_path):
    run = write_run(tmp_path / "run", collapse=8, updates=30, stop=False)
    (run.path / "summary.json").write_text('{"collapsed": false, "collapse_update": null}')
    assert measured([run])[0].outcome.time == 8
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("patience: 5", "patience: 50"))
    (found,) = measured([run])
    assert (found.outcome.observed, found.outcome.time) == (False, 30)


def test_a_diverged_run_is_censored_at_its_last_update_and_flagged(tmp_path):
    (found,) = measured([write_run(tmp_path / "run", updates=12, diverged=True)])
    assert (found.outcome.status, found.outcome.observed, found.outcome.time) == (
        "diverged",
        False,
        12,
    )
    assert math.isnan(found.outcome.train_last)
    assert found.outcome.train_lowest == 3.0


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_a_run_that_did_not_end_by_itself_is_left_out_and_listed(status, tmp_path):
    good, bad = (
        write_run(tmp_path / "good", collapse=5),
        write_run(tmp_path / "bad", status=status),
    )
    found, left = measure_runs([good, bad])
    assert [run.outcome.run for run in found] == ["good"]
    assert [(run.run, run.reason) for run in left] == [("bad", f"status: {status}")]


def damage_rows(run):
    (run.path / "updates.jsonl").write_text('{"update": 0, "train.loss": "low"}\n')


def damage_config(run):
    (run.path / "config.yaml").write_text("no_such_key: 1\n")


def damage_manifest(run):
    (run.path / "manifest.json").write_text("[]")


def empty_rows(run):
    (run.path / "updates.jsonl").write_text("")


@pytest.mark.parametrize("damage", [damage_rows, damage_config, damage_manifest, empty_rows])
def test_a_damaged_run_is_left_out_and_listed(damage, tmp_path):
    good, bad = write_run(tmp_path / "good", collapse=5), write_run(tmp_path / "bad", collapse=5)
    damage(bad)
    found, left = measure_runs([good, bad, good])
    assert [run.outcome.run for run in found] == ["good"]
    assert [run.run for run in left] == ["bad"]


def test_a_ladder_model_knows_its_parameters_without_embeddings(tmp_path):
    model = tmp_path / "64x2"
    model.mkdir()
    provenance = {"parameters": {"total": 90, "embeddings": 20, "without_embeddings": 70}}
    (model / "provenance.json").write_text(json.dumps(provenance))
    runs = [
        write_run(tmp_path / "a", model=str(model), parameters=90),
        write_run(tmp_path / "b", model="elsewhere", parameters=90),
        write_run(tmp_path / "c", parameters=None),
    ]
    found = [run.outcome for run in measured(runs)]
    assert [o.parameters_without_embeddings for o in found] == [70, None, None]
    assert [o.parameters for o in found] == [90, 90, None]
    assert found[0].label == "64x2"


# Tables


def test_the_tables_are_long_and_complete(tmp_path):
    readers = sweep(tmp_path, {1e-4: [3, None], 2e-4: [2, 4]}, horizon=9, corpora=("sotu", "ptb"))
    readers.append(write_run(tmp_path / "cut", status="failed"))
    found, left = measure_runs(readers)
    groups = {"learning rate": found}
    runs = table(runs_table(groups, {"learning rate": left}))
    assert [row["time"] for row in runs] == ["3", "9", "2", "4", ""]
    assert [row["observed"] for row in runs] == ["True", "False", "True", "True", ""]
    assert runs[4]["status"] == "status: failed"
    assert runs[1]["validation_ptb_collapse"] == "nan"
    updates = table(updates_table(groups))
    assert len(updates) == 2 * sum(run.outcome.updates + 1 for run in found)
    assert (updates[0]["train_loss"], updates[0]["corpus"]) == ("", "sotu")
    assert float(updates[1]["loss"]) == 4.0
    assert float(updates[1]["perplexity"]) == pytest.approx(math.exp(4))
    survival = table(survival_table(groups))
    assert [(r["level"], float(r["time"]), float(r["survival"])) for r in survival] == [
        ("1e-4", 3, 0.5),
        ("1e-4", 9, 0.5),
        ("2e-4", 2, 0.5),
        ("2e-4", 4, 0),
    ]
    assert survival[0]["median"] == "3.0"


def test_an_update_that_was_not_evaluated_has_a_row_without_corpus(tmp_path):
    groups = {"size": measured([write_run(tmp_path / "run", updates=4, every=2)])}
    rows = table(updates_table(groups))
    assert [(row["update"], row["corpus"]) for row in rows] == [
        ("0", "sotu"),
        ("1", ""),
        ("2", "sotu"),
        ("3", ""),
        ("4", "sotu"),
    ]
    assert rows[1]["train_loss"] == "3.0"
    assert rows[1]["loss"] == ""


@pytest.mark.parametrize(("value", "shown"), [(math.inf, "inf"), (math.nan, "nan")])
def test_a_number_that_is_not_finite_is_told_in_the_tables(value, shown, tmp_path):
    run = write_run(tmp_path / "run", updates=2, validation=lambda u, c: 3.0 if u < 2 else value)
    groups = {"phase": measured([run])}
    last = table(updates_table(groups))[-1]
    assert (last["loss"], last["perplexity"], last["train_loss"]) == (shown, shown, "3.0")
    assert table(runs_table(groups, {}))[0]["validation_sotu_end"] == shown


def test_hostile_names_are_printable_in_tables(tmp_path):
    run = write_run(tmp_path / "a\x1b[2J", collapse=3, model=HOSTILE, corpora=("sotu",))
    groups = {"size": measured([run])}
    for text in (runs_table(groups, {}), updates_table(groups), survival_table(groups)):
        assert "\x1b" not in text
        assert "\u202e" not in text
        table(text)


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(2e-5, "2e-5"), (1.6e-4, "1.6e-4"), (0.001, "0.001"), (0.0, "0"), (3e-10, "3e-10")],
)
def test_rates_are_written_as_a_reader_does(rate, shown):
    assert name_rate(rate) == shown


def test_sizes_are_written_in_thousands_millions_and_billions():
    shown = [name_parameters(n) for n in (None, 7, 1500, 134_515_008, 999_900_000, 1_557_611_200)]
    assert shown == ["unknown size", "7", "1.5k", "135M", "1B", "1.56B"]


def test_levels_are_in_numeric_order(tmp_path):
    runs = measured(sweep(tmp_path, {1e-3: [3], 2e-5: [3], 1e-4: [3]}))
    assert list(sort_group("learning rate", runs)) == ["2e-5", "1e-4", "0.001"]
    assert next(iter(sort_group("phase", runs))).startswith("learning rate 2e-5, temp")


def test_every_size_has_a_name_of_its_own(tmp_path):
    def names(*models):
        folder = tmp_path / "-".join(m.replace("/", "_") for m in models)
        runs = [
            write_run(folder / str(i), model=model, parameters=1500)
            for i, model in enumerate(models)
        ]
        return list(sort_group("size", measured(runs)))

    assert names("a/32x2", "b/64x3") == ["32x2 (1.5k)", "64x3 (1.5k)"]
    assert names("a/32x2", "b/32x2") == ["a/32x2 (1500)", "b/32x2 (1500)"]
    assert len(set(names("a\x1b", "a\\x1b"))) == 2


# Statistics


def test_a_share_has_the_interval_of_clopper_and_pearson():
    found = share_of(3, 8)
    assert (found.lower, found.upper) == pytest.approx(
        (beta.ppf(0.025, 3, 6), beta.ppf(0.975, 4, 5)), abs=1e-9
    )
    assert share_of(5, 5).lower == pytest.approx(0.025 ** (1 / 5))  # below 1/2
    assert share_of(6, 6).lower > 0.5
    assert (share_of(0, 4).lower, share_of(4, 4).upper) == (0, 1)
    assert math.isnan(share_of(0, 0).value)


def test_a_share_of_runs_that_are_alike_has_the_interval_of_their_models():
    """30 runs of 6 models say as much of models as 6 runs; the share is that of the runs."""
    found, six = share_of(25, 30, 6), share_of(5, 6)
    assert (found.lower, found.upper) == pytest.approx((six.lower, six.upper))
    assert (found.value, found.runs) == (25 / 30, 30)
    odd = share_of(27, 30, 6)  # 5.4 of 6, between two counts
    assert six.lower < odd.lower < share_of(6, 6).lower


def test_how_many_runs_must_agree():
    assert share_of(12, 12).lower == pytest.approx(0.735, abs=5e-4)
    assert (fewest_above(0.5), fewest_above(0.75)) == (6, 13)


def test_units_of_unequal_size_count_for_less(tmp_path):
    runs = measured(sizes(tmp_path, {("a", 1): [9, 8, 7, 6], ("b", 2): [5, 4], ("c", 3): [3, 2]}))
    units = units_of("size", runs)
    assert (units.name, units.count, units.seeds) == ("model", 3, 4)
    assert units.effective == 8**2 / (4**2 + 2**2 + 2**2)
    assert units_of("phase", runs).effective == 8
    assert units_of("size", []).effective == 0


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(0.6, 0.9)], "supported"),
        ([(0.1, 0.4)], "not supported"),
        ([(0.4, 0.6)], "undecided"),
        ([(0.6, 0.9), (0.4, 0.9)], "undecided"),
        ([(0.6, 0.9), (0.1, 0.4)], "not supported"),
        ([(math.nan, math.nan)], "undecided"),
        ([(0.5, 0.9)], "undecided"),
    ],
)
def test_intervals_are_compared_with_thresholds(intervals, verdict):
    tests = [(Interval(0.5, low, high, 9), 0.5) for low, high in intervals]
    assert decide(*tests) == verdict


def test_an_update_that_a_running_run_lacks_is_left_out_of_the_mean():
    found = mean_curve([{0: 1.0, 5: 2.0, 7: 9.0}, {0: 3.0, 5: 4.0, 10: 6.0}])
    assert found.update.tolist() == [0, 5]
    assert found.mean.tolist() == [2, 3]


def test_a_mean_of_two_runs_ends_with_the_first_of_them():
    """What would follow is the other run alone, and the curve would jump to it."""
    found = mean_curve([{0: 1.0, 1: 1.0}, {0: 5.0, 1: 5.0, 2: 5.0}])
    assert found.update.tolist() == [0, 1]


def test_the_mean_curve_by_hand():
    found = mean_curve([{0: 1.0, 1: 2.0, 2: 3.0}, {0: 3.0, 1: math.nan}, {0: 2.0}])
    assert found.update.tolist() == [0]  # where one of the three ends
    assert (found.mean[0], found.lower[0], found.upper[0]) == (2, 1, 3)
    assert found.band == "range"
    many = mean_curve([{0: float(y)} for y in (1, 2, 3, 4, 5)])
    assert many.band == "standard error"
    assert many.upper[0] == pytest.approx(3 + math.sqrt(2.5 / 5))
    assert math.isnan(mean_curve([{0: 1.0}]).lower[0])
    assert not len(mean_curve([{}]).update)


# Claims


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        (FASTER, "supported"),
        (SLOWER, "not supported"),
        (NO_EFFECT, "undecided"),
        (NEVER, "undecided"),
        ({2e-5: [20], 4e-5: [15], 8e-5: [9], 1.6e-4: [5], 3.2e-4: [3]}, "undecided"),  # one seed
        ({2e-5: [28, 26, 24, 25, 23], 8e-5: [9, 11, 12, 8, 13]}, "undecided"),  # 2 of 2^5 orders
        ({2e-5: [28, 26, 24, 25, 23, 29], 8e-5: [9, 11, 12, 8, 13, 7]}, "supported"),
        ({4e-5: [20, 17, 15]}, "not tested"),
        ({0: [None] * 3, 4e-5: [20, 17, 15]}, "not tested"),  # learning rate 0 is a control
    ],
)
def test_whether_higher_rates_collapse_faster(times, verdict, tmp_path):
    claim = judged(tmp_path, times)[RATE]
    assert claim.id == "higher-rate-collapses-faster"
    assert claim.verdict == verdict


def test_the_numbers_behind_a_separated_rate(tmp_path):
    row = judged(tmp_path, FASTER)[RATE].row()
    assert row["effect"]["value"] is None
    assert "effect.value" in row["nonfinite"]
    assert "separated" in row["effect"]["note"]
    assert row["effect"]["lower"] > 1
    assert row["reason"].startswith("hazard ratio above 234 (95 %; the runs are separated)")
    assert row["details"]["concordance"] == 1
    assert row["details"]["medians_never_rise"] is True
    assert row["levels"]["4e-5"] == {
        "runs": 3,
        "seeds": 3,
        "collapses": 3,
        "median": 17,
        "median_lower": 15,
        "median_upper": None,
    }
    ratio = row["details"]["time_ratio_highest_to_lowest"]
    assert 0 < ratio["lower"] < 11 / 26 < ratio["upper"] < 1
    # (3!)^3 assignments within seeds; the rates are a factor of 2 apart, so a reverse counts too.
    assert row["p_value"] == 2 / 216
    permutation = row["details"]["permutation"]
    assert permutation == {
        "p_value": 2 / 216,
        "exact": True,
        "assignments": 216,
        "smallest": 2 / 216,
        "within": "seed",
    }
    assert (row["details"]["unit"], row["details"]["units"]) == ("run", 9)
    assert "counts all 216 distinct" in row["limits"]
    assert "below 0.00926." in row["limits"]
    assert "log_rank" not in row["details"]
    assert row["details"]["collapsed_and_repetitive_at_the_end"] == 9
    slower = judged(tmp_path / "b", SLOWER)
    assert slower[RATE].row()["details"]["medians_never_rise"] is False
    assert "the opposite was found: hazard ratio below 0.00427" in slower[RATE].finding.reason
    for claims, told in ((judged(tmp_path / "c", FASTER), "above 234"), (slower, "below 0.00427")):
        page = claims_markdown(claims)
        assert "- Time to collapse at the highest, of that at the lowest: x " in page
        assert f"hazard ratio of collapse per tenfold learning rate: {told} (no estimate)" in page
        assert not {"∞", "infinite"} & {*page.split()}


def test_rates_of_two_temperatures_are_compared_within_each(tmp_path):
    low, high = {2e-5: [8, 9, 7], 8e-5: [3, 4, 5]}, {2e-5: [28, 29, 27], 8e-5: [22, 23, 24]}
    cold = sweep(tmp_path / "cold", {**low, 4e-5: [6, 6, 6]}, temperature=0.5)
    warm = sweep(tmp_path / "warm", {**high, 4e-5: [25, 26, 25]}, temperature=1.0)
    claim = judge_claims({"learning rate": measured(cold + warm)})[RATE]
    assert claim.verdict == "supported"
    assert claim.finding.details["strata"] == 2
    # A second temperature with the same random numbers is no second seed.
    assert claim.finding.details["permutation"]["assignments"] == 216


def test_seeds_are_blocks_for_the_rates(tmp_path):
    """In each seed the higher rate is faster, though seeds differ by more than rates do."""
    times = {2e-5: [10, 30, 60, 100, 150, 210], 8e-5: [8, 25, 50, 80, 120, 170]}
    claim = judged(tmp_path, times)[RATE]
    assert claim.finding.p_value == claim.finding.details["permutation"]["smallest"] == 2 / 2**6
    assert claim.finding.details["concordance"] < 0.7


def test_a_printed_floor_is_never_above_a_printed_p(tmp_path):
    for place, times in enumerate((FASTER, SLOWER, NO_EFFECT, {2e-5: [9] * 3, 8e-5: [5] * 3})):
        claim = judged(tmp_path / str(place), times)[RATE]
        floor = float(re.search(r"p-value below ([0-9.e-]+[0-9])", claim.limits)[1])
        p = float(re.search(r"permutation p = ([^;]+)", claim.finding.reason)[1])
        shown = float(claims_markdown([claim]).splitlines()[4].split("|")[4])
        assert floor <= p == shown
        assert ("out of reach" in claim.limits) == (place == 3)


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        (FIVE, "supported"),
        (dict(zip(FIVE, reversed(list(FIVE.values())), strict=True)), "not supported"),
        (SIZES, "undecided"),  # three models cannot decide, however many seeds
        ({("a", 10**5): [28, 26, 24, 25, 27], ("b", 10**7): [9, 11, 12, 8, 10]}, "undecided"),
        (dict(zip(SIZES, NO_EFFECT.values(), strict=True)), "undecided"),
        ({("a", 10**5): [5, 6]}, "not tested"),
        ({("a", None): [5, 6], ("b", 10**6): [3, 4]}, "not tested"),
        ({("a", 10**5): [None, None], ("b", 10**6): [None, None]}, "undecided"),
    ],
)
def test_whether_larger_models_collapse_faster(times, verdict, tmp_path):
    claims = judge_claims({"size": measured(sizes(tmp_path, times))})
    assert claims[SIZE].verdict == verdict
    assert claims[RATE].verdict == "not tested"


def test_seeds_of_one_model_are_no_second_model(tmp_path):
    claim = judge_claims({"size": measured(sizes(tmp_path, SIZES))})[SIZE]
    assert "3 models, not 9 runs" in claim.limits
    # 2 of 3! orders: the sizes are a factor of 10 apart, so a reverse counts too.
    assert "below 0.333, so that a verdict, which asks for 0.05, is out of reach" in claim.limits
    assert (claim.finding.details["unit"], claim.finding.details["units"]) == ("model", 3)
    five = judge_claims({"size": measured(sizes(tmp_path / "five", FIVE))})[SIZE]
    assert five.finding.p_value == five.finding.details["permutation"]["smallest"] == 1 / 120
    assert five.finding.details["permutation"]["assignments"] == 120


def test_a_diverged_run_counts_as_censored_in_a_claim(tmp_path):
    runs = sweep(tmp_path, FASTER)
    runs.append(write_run(tmp_path / "d", rate=8e-5, seed=3, updates=6, diverged=True))
    claims = judge_claims({"learning rate": measured(runs)})
    assert claims[RATE].finding.runs == 10
    assert claims[RATE].finding.details["diverged"] == 1
    assert claims[RATE].finding.levels["8e-5"]["collapses"] == 3
    assert claims[CONSISTENT].finding.details["diverged"] == 1


def saw(update, corpus):
    """Rises over two updates in three."""
    return 3 + update / 100 - 0.015 * (update % 3 == 0)


def falls(update, corpus):
    return 3 - update / 100


@pytest.mark.parametrize(
    ("validation", "each", "trend"),
    [
        (None, "supported", "supported"),
        (saw, "not supported", "supported"),
        (falls, "not supported", "not supported"),
    ],
)
def test_the_literal_and_the_trend_reading_of_a_rising_loss(validation, each, trend, tmp_path):
    options = {"validation": validation} if validation else {}
    claims = judged(tmp_path, FASTER, **options)
    assert [claims[RISES].verdict, claims[TREND].verdict] == [each, trend]


def falls_at_last(update, corpus):
    return 2.0 if update == 13 else 3 + update / 100


def test_a_trend_that_ends_below_its_start_is_no_rise(tmp_path):
    claim = judged(tmp_path, {2e-5: [9] * 3, 4e-5: [9] * 3}, validation=falls_at_last)[TREND]
    assert claim.finding.effect.lower > 0.5
    assert claim.finding.details["share_ending_above_start"]["value"] == 0
    assert claim.verdict == "not supported"


def test_controls_at_learning_rate_0_belong_to_no_claim(tmp_path):
    runs = measured(sweep(tmp_path, {0: [None] * 3, 1e-4: [5]}))
    assert [run.outcome.learning_rate for run in main_runs({"phase": runs})[1]] == [1e-4]
    assert main_runs({"learning rate": runs[:3]})[1] == []


def test_the_share_of_rises_by_hand(tmp_path):
    claim = judged(tmp_path, {1e-4: [None] * 3}, horizon=6, validation=saw)[RISES]
    assert claim.finding.effect.value == pytest.approx(2 / 3)
    assert claim.verdict == "undecided"
    assert "fewer than 6" in claim.finding.reason


def test_runs_whose_loss_is_not_finite_have_no_trend_and_are_counted(tmp_path):
    runs = sweep(tmp_path / "a", FASTER)
    runs += sweep(tmp_path / "b", {4e-5: [7]}, validation=lambda u, c: math.nan if u else 3.0)
    claim = judge_claims({"learning rate": measured(runs)})[TREND]
    assert (claim.finding.runs, claim.finding.details["without_trend"]) == (9, 1)


def low(update, collapse):
    return 0.01 if update >= collapse else 2.0


def high(update, collapse):
    return 0.4 if update >= collapse else 2.0


@pytest.mark.parametrize(
    ("train", "length", "verdict"),
    [
        (low, {}, "supported"),
        (high, {}, "undecided"),  # stopped at the collapse: it might have fallen further
        (high, {"horizon": 1000, "stop": False}, "not supported"),
        (None, {}, "undecided"),
    ],
)
def test_whether_the_train_loss_nears_zero(train, length, verdict, tmp_path):
    options = {"train": train, **length} if train else {}
    claim = judged(tmp_path, FASTER if train else NEVER, **options)[ZERO]
    assert claim.verdict == verdict
    if train:
        median = claim.finding.details["median_lowest_train_loss"]
        assert median["value"] == (0.01 if train is low else 0.4)
        assert median["runs"] == 9


def test_few_collapses_decide_nothing_about_the_train_loss(tmp_path):
    claim = judged(tmp_path, {2e-5: [None, None, 9], 8e-5: [5, 6, 7]}, train=low_or_flat)[ZERO]
    assert claim.verdict == "undecided"
    assert claim.finding.runs == 4


def low_or_flat(update, collapse):
    return 2.0 if collapse is None else low(update, collapse)


def opposite(update, corpus):
    return 3 + update / 100 if corpus == "sotu" else 4 - update / 100


@pytest.mark.parametrize(
    ("corpora", "validation", "verdict"),
    [
        (("sotu", "ptb"), None, "supported"),
        (("sotu", "wikitext2"), None, "not tested"),  # the sentence is on Penn Treebank
        (("ptb", "sotu"), None, "supported"),
        (("sotu", "ptb"), opposite, "not supported"),
        (("sotu",), None, "not tested"),
    ],
)
def test_whether_another_corpus_is_alike(corpora, validation, verdict, tmp_path):
    options = {"validation": validation} if validation else {}
    claim = judged(tmp_path, FASTER, corpora=corpora, **options)[ALIKE]
    assert claim.verdict == verdict


def test_penn_treebank_is_preferred_to_the_second_corpus(tmp_path):
    claim = judged(tmp_path, FASTER, corpora=("sotu", "wikitext2", "ptb"))[ALIKE]
    assert claim.finding.details["corpora"] == "sotu, ptb"


def test_consistent_collapse_needs_repetition(tmp_path):
    many = {rate: [*times, *times] for rate, times in FASTER.items()}
    assert judged(tmp_path / "a", many)[CONSISTENT].verdict == "supported"
    assert judged(tmp_path / "few", FASTER)[CONSISTENT].verdict == "undecided"
    low_loss_only = judged(tmp_path / "b", FASTER, repetitive=False)[CONSISTENT]
    assert low_loss_only.verdict == "not supported"
    assert low_loss_only.finding.details["share_collapsed"]["value"] == 1
    assert low_loss_only.finding.details["share_repetitive_of_collapsed"]["value"] == 0


def test_a_short_horizon_is_no_evidence_against_collapse(tmp_path):
    mixed = {2e-5: [None] * 3, 8e-5: [9, 11, 12]}
    claim = judged(tmp_path / "short", mixed)[CONSISTENT]
    assert claim.verdict == "undecided"
    assert claim.finding.effect.value == 0.5
    claim = judged(tmp_path / "long", {2e-5: [None] * 6}, horizon=1000, every=500)[CONSISTENT]
    assert claim.verdict == "not supported"


def test_one_seed_decides_nothing(tmp_path):
    rates = {rate: [collapse] for rate, collapse in zip(range(1, 9), range(20, 4, -2), strict=True)}
    claims = judged(tmp_path, rates, corpora=("sotu", "ptb"))
    verdicts = {claim.verdict for claim in claims if claim.id != "larger-models-collapse-faster"}
    assert verdicts == {"undecided"}
    assert all(
        "1 seed" in claim.finding.reason
        for claim in claims
        if claim.id != "larger-models-collapse-faster"
    )


def test_without_any_run_nothing_is_tested():
    claims = judge_claims({})
    assert {claim.verdict for claim in claims} == {"not tested"}
    assert len({claim.id for claim in claims}) == 12
    assert all(json.dumps(claim.row(), allow_nan=False) for claim in claims)


def test_evaluations_apart_say_nothing_of_each_update(tmp_path):
    assert judged(tmp_path / "each", FASTER)[RISES].verdict == "supported"
    thinned = measured(sweep(tmp_path / "fifth", FASTER, every=5))
    sparse = judge_claims({"learning rate": thinned})
    assert (sparse[RISES].verdict, sparse[TREND].verdict) == ("not tested", "supported")
    both = judge_claims({"learning rate": thinned, "size": measured(sizes(tmp_path / "s", SIX))})
    assert (both[RISES].verdict, both[RISES].finding.group) == ("supported", "size")


def test_a_group_that_misses_runs_decides_nothing(tmp_path):
    groups = {"learning rate": measured(sweep(tmp_path, FASTER))}
    whole, part = judge_claims(groups), judge_claims(groups, {"learning rate": 2, "size": 9})
    assert whole[RATE].verdict == "supported"
    assert {claim.verdict for claim in part} == {"undecided", "not tested"}
    assert part[RATE].finding.reason.startswith("2 of the runs have not ended")


def test_claims_on_one_sweep_fall_back_on_another_group(tmp_path):
    runs = measured(sizes(tmp_path, SIX))
    assert main_runs({"learning rate": [], "size": runs})[0] == "size"
    claims = judge_claims({"size": runs})
    assert claims[TREND].verdict == "supported"
    assert claims[TREND].finding.group == "size"


@pytest.mark.parametrize("claim", [RISES, TREND, ZERO, ALIKE, CONSISTENT])
def test_in_the_group_of_sizes_models_are_the_units(claim, tmp_path):
    """Fifteen runs carry a verdict; where they are the seeds of five models they do not."""
    runs = measured(sizes(tmp_path, FIVE, corpora=("sotu", "ptb")))
    by_model = judge_claims({"size": runs})[claim].finding
    by_run = judge_claims({"phase": runs})[claim].finding
    assert (by_model.verdict, by_run.verdict) == ("undecided", "supported")
    assert by_model.reason.startswith("5 models: fewer than 6 cannot carry a verdict; ")
    assert by_model.effect.value == by_run.effect.value
    assert (by_model.details["unit"], by_model.details["units"]) == ("model", 5)
    assert (by_run.details["unit"], by_run.details["units"]) == ("run", 15)
    assert "- Unit: model (5 of them)" in claims_markdown([judge_claims({"size": runs})[claim]])


def by_model(update, corpus, model):
    """Rises at every update in models a to d, at two of three in the others."""
    return rising(update, corpus) if model in "abcd" else saw(update, corpus)


def test_an_interval_over_models_is_that_of_their_means(tmp_path):
    """Whole models are drawn: five equal seeds of each are no more than one."""
    many = {model: times[:1] * 5 for model, times in SIX.items()}
    one = {model: times[:1] for model, times in SIX.items()}
    wide, same = (
        judge_claims({"size": measured(sizes(tmp_path / name, times, validation=by_model))})
        for name, times in (("many", many), ("one", one))
    )
    effects = [claims[RISES].finding.effect for claims in (wide, same)]
    assert effects[0].lower == pytest.approx(effects[1].lower)
    assert effects[0].upper == pytest.approx(effects[1].upper)
    assert effects[0].lower < effects[0].value < effects[0].upper


def test_consistency_says_how_many_runs_it_asks_for(tmp_path):
    def limits(seeds):
        times = {rate: [t + s for s in range(seeds)] for rate, t in ((2e-5, 40), (4e-5, 20))}
        return judged(tmp_path / str(seeds), times)[CONSISTENT]

    claim = limits(6)
    assert claim.finding.effect.lower == pytest.approx(0.735, abs=5e-4)
    assert claim.verdict == "undecided"
    assert "reaches to 0.735, which is not above 0.75" in claim.limits
    assert "supported is out of reach, at least 13 runs are needed" in claim.limits
    assert limits(7).verdict == "supported"
    assert "out of reach" not in limits(8).limits


def test_every_entry_has_what_a_reader_needs(tmp_path):
    for claim in judged(tmp_path, FASTER, corpora=("sotu", "ptb")):
        row = claim.row()
        for field in ("id", "section", "sentence", "supports", "test", "rule", "limits", "reason"):
            assert row[field], (claim.id, field)
        assert row["verdict"] in ("supported", "not supported", "undecided", "not tested")
        json.dumps(row, allow_nan=False)


# --- which verdicts a design can have ---------------------------------------------------------


def reachable(claims):
    return {claim.id: set(claim.finding.reachable) for claim in claims}


BOTH = {"supported", "not supported", "undecided"}


def test_every_claim_says_which_verdicts_its_design_can_reach(tmp_path):
    corpora = {"corpora": ("sotu", "ptb")}
    few = reachable(judged(tmp_path / "nine", FASTER, **corpora))
    assert few["higher-rate-collapses-faster"] == BOTH
    assert few["validation-loss-rises"] == BOTH
    assert few["other-corpus-alike"] == BOTH
    assert few["train-loss-falls"] == BOTH
    assert few["degradation-is-significant"] == BOTH
    assert few["collapse-is-consistent"] == {"not supported", "undecided"}  # 9 runs of 13
    assert few["train-loss-nears-zero"] == {"supported", "undecided"}  # stopped at the collapse
    assert few["collapse-lasts"] == {"not tested"}
    assert few["larger-models-collapse-faster"] == {"not tested"}
    many = {rate: [*times, *times] for rate, times in FASTER.items()}
    assert reachable(judged(tmp_path / "many", many))["collapse-is-consistent"] == BOTH
    two = {2e-5: [28, 26, 24], 8e-5: [9, 11, 12]}  # 2 / 2^3 is the least p
    assert reachable(judged(tmp_path / "two", two))["higher-rate-collapses-faster"] == {"undecided"}
    three = judge_claims({"size": measured(sizes(tmp_path / "three", SIZES))})
    assert reachable(three)["larger-models-collapse-faster"] == {"undecided"}
    page = claims_markdown(three)
    assert "- This design could have been: undecided" in page


def test_no_verdict_is_one_that_the_design_could_not_have(tmp_path):
    mixed = {2e-5: [None, None, 9], 8e-5: [5, 6, 7]}
    for number, one in enumerate((SLOWER, NEVER, mixed)):
        for options in ({}, {"horizon": 40, "stop": False}):
            for claim in judged(tmp_path / f"{number}{len(options)}", one, **options):
                assert claim.verdict in claim.finding.reachable, (claim.id, number, options)


def test_a_run_that_is_watched_long_enough_can_speak_against_a_loss_near_0(tmp_path):
    claims = judged(tmp_path, FASTER, train=high, horizon=60, stop=False)
    assert claims[ZERO].verdict == "not supported"
    assert reachable(claims)["train-loss-nears-zero"] == BOTH
    assert claims[ZERO].finding.details["watched"] == 9


# --- the sentences on the rate, the train loss, what lasts, and how far the loss rises ---------


def of_dose(update, corpus, rate):
    return 3 + 2000 * update * rate


def of_rate(update, corpus, rate):
    return 3 + 0.001 * update * math.log10(rate / 1e-6)


def with_rates(folder, validation, *, rates=(2e-5, 4e-5, 8e-5), seeds=3):
    return [
        write_run(
            folder / f"{rate}-{seed}",
            rate=rate,
            seed=seed,
            updates=round(2.4e-3 / rate) + seed,
            validation=partial(validation, rate=rate),
        )
        for rate in rates
        for seed in range(seeds)
    ]


def test_a_loss_that_goes_by_dose_differs_at_equal_update_only(tmp_path):
    claims = judge_claims({"learning rate": measured(with_rates(tmp_path, of_dose))})
    assert claims[AT_UPDATE].verdict == "supported"
    assert claims[AT_UPDATE].finding.p_value == 2 / 216
    # At update 30: 3.6 nats between rates a factor of 4 apart, on a line through three points.
    assert claims[AT_UPDATE].finding.effect.value == pytest.approx(5.98, rel=0.01)
    assert claims[AT_DOSE].verdict == "not supported"
    assert claims[AT_DOSE].finding.effect.value == pytest.approx(0, abs=1e-6)


def test_a_loss_that_does_not_go_by_dose_differs_at_equal_dose(tmp_path):
    claims = judge_claims({"learning rate": measured(with_rates(tmp_path, of_rate))})
    assert claims[AT_DOSE].verdict == "supported"
    assert claims[AT_DOSE].finding.effect.upper < 0


def test_few_evaluations_say_nothing_at_equal_dose(tmp_path):
    runs = sweep(tmp_path, {1e-5: [None] * 3, 3e-4: [None] * 3}, every=10)
    claim = judge_claims({"learning rate": measured(runs)})[AT_DOSE]
    assert claim.verdict == "not tested"
    assert "too few evaluations up to dose 0.0003" in claim.finding.reason


def test_the_course_of_runs_that_collapse(tmp_path):
    claims = judged(tmp_path / "a", FASTER, horizon=60, stop=False)
    assert [claims[n].verdict for n in (FALLS, LASTS, DEGRADES)] == ["supported"] * 3
    assert claims[FALLS].finding.effect.value == pytest.approx(2.85, rel=0.05)
    assert claims[DEGRADES].finding.effect.value == pytest.approx(0.6)
    flat = judged(tmp_path / "b", FASTER, validation=lambda update, corpus: 3.0)
    assert flat[DEGRADES].verdict == "not supported"
    grows = judged(tmp_path / "c", FASTER, train=lambda update, collapse: 2 + update / 100)
    assert grows[FALLS].verdict == "not supported"
    assert flat[LASTS].verdict == "not tested"  # stopped at the collapse


def test_of_few_runs_that_nobody_watched_nothing_is_told_of_what_lasts(tmp_path):
    runs = [write_run(tmp_path / str(seed), seed=seed, collapse=9, updates=14) for seed in (0, 1)]
    judged_runs = measure_runs(runs)[0]
    finding = course_claims("learning rate", judged_runs)[1].finding
    assert (finding.verdict, finding.runs, finding.effect) == ("undecided", 0, None)
    assert "no run was watched" in finding.reason


def test_the_claim_on_the_rate_tells_exponent_and_dose(tmp_path):
    claim = judged(tmp_path, FASTER)[RATE]
    details = claim.finding.details
    assert details["exponent_in_the_rate"]["value"] == pytest.approx(-0.66, abs=0.1)
    assert details["median_dose_at_the_collapse"]["2e-5"] == pytest.approx(26 * 2e-5)
    assert "time at the highest over that at the lowest: 0.4" in claim.finding.reason
    page = claims_markdown([claim])
    assert "- Time to collapse ~ rate to the power: -0.6" in page
    assert "2e-5: 0.00052" in page


def test_the_claim_on_size_speaks_of_one_shared_rate(tmp_path):
    claim = judge_claims({"size": measured(sizes(tmp_path, SIX))})[SIZE]
    assert claim.verdict == "supported"
    assert claim.finding.reason.endswith("; at one shared learning rate")
