"""Outcomes, tables and claims from made-up run directories whose truth is known."""

import csv
import io
import itertools
import json
import math

import pytest
from run_dirs import HOSTILE, sweep, write_run
from scipy.stats import beta

from collapse_lm.analysis.claims.judge import judge_claims, main_runs
from collapse_lm.analysis.claims.verdicts import decide, share_of
from collapse_lm.analysis.curves import mean_curve
from collapse_lm.analysis.levels import name_parameters, name_rate, sort_group
from collapse_lm.analysis.outcomes import measure_runs
from collapse_lm.analysis.stats.ordered import concordance, smallest_trend_p, trend_p
from collapse_lm.analysis.stats.trend import Interval
from collapse_lm.analysis.tables import runs_table, survival_table, updates_table

FASTER = {2e-5: [26, 28, 24], 4e-5: [17, 20, 15], 8e-5: [9, 11, 12]}
SLOWER = {8e-5: [26, 28, 24], 4e-5: [17, 20, 15], 2e-5: [9, 11, 12]}
NO_EFFECT = {2e-5: [12, 20, 16], 4e-5: [13, 17, 21], 8e-5: [14, 18, 15]}
NEVER = {2e-5: [None] * 3, 8e-5: [None] * 3}
SIZES = {("a", 10**5): [26, 28, 24], ("b", 10**6): [17, 20, 15], ("c", 10**7): [9, 11, 12]}
FIVE = SIZES | {("d", 3 * 10**7): [6, 7, 8], ("e", 10**8): [3, 4, 5]}
RISES, TREND, RATE, ZERO, SIZE, ALIKE, CONSISTENT = range(7)


def measured(readers):
    return measure_runs(readers)[0]


def judged(folder, times, **options):
    return judge_claims({"learning rate": measured(sweep(folder, times, **options))})


def sizes(folder, times):
    return [
        write_run(folder / model / str(s), seed=s, collapse=c, model=model, parameters=n)
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
    (run.path / "updates.jsonl").write_text('{"update": 0}\n')


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


def test_a_number_that_is_not_finite_is_nan_in_the_tables(tmp_path):
    run = write_run(tmp_path / "run", updates=2, validation=lambda u, c: 3.0 if u < 2 else math.inf)
    groups = {"phase": measured([run])}
    last = table(updates_table(groups))[-1]
    assert (last["loss"], last["perplexity"], last["train_loss"]) == ("nan", "nan", "3.0")
    assert table(runs_table(groups, {}))[0]["validation_sotu_end"] == "nan"


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
    assert math.isnan(share_of(0, 0).value)


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


def exact_trend_p(times, observed, x):
    """All permutations, and the score of the log-rank test for trend written out."""

    def score(order):
        total = 0.0
        for t, seen in zip(times, observed, strict=True):
            if seen:
                risk = [order[i] for i in range(len(times)) if times[i] >= t]
                event = order[times.index(t)]
                total += event - sum(risk) / len(risk)
        return total

    scores = [abs(score(order)) for order in itertools.permutations(x)]
    return sum(s >= abs(score(x)) - 1e-9 for s in scores) / len(scores)


@pytest.mark.parametrize(
    ("times", "observed"),
    [
        ([1, 2, 3, 7, 8, 9], [1, 1, 1, 1, 1, 1]),
        ([2, 1, 5, 6, 9, 3], [1, 1, 0, 1, 1, 0]),
        ([9, 8, 7, 1, 3, 2], [0, 1, 1, 1, 1, 1]),
    ],
)
def test_the_permutation_test_for_trend_is_that_of_all_permutations(times, observed):
    x = [3.0, 3.0, 3.0, 1.0, 1.0, 1.0]
    found = trend_p(times, observed, x, ["s"] * 6, seed=0)
    assert found == pytest.approx(exact_trend_p(times, observed, x), abs=0.015)


def test_three_runs_against_three_cannot_be_significant():
    x, times = [3, 3, 3, 1, 1, 1], [1, 2, 3, 7, 8, 9]
    assert trend_p(times, [1] * 6, x, [0] * 6, seed=0) == pytest.approx(0.1, abs=0.015)
    assert math.isnan(trend_p(times, [0] * 6, x, [0] * 6, seed=0))
    assert math.isnan(trend_p(times, [1] * 6, x, x, seed=0))  # constant within each stratum


def test_runs_of_different_strata_are_not_compared():
    times, x = [1, 2, 11, 12], [2, 1, 2, 1]
    strata = ["a", "a", "b", "b"]
    assert concordance(times, [1] * 4, x, strata) == 1
    assert concordance(times, [1] * 4, x, ["a"] * 4) == 3 / 4
    assert trend_p(times, [1] * 4, x, strata, seed=0) == pytest.approx(1 / 2, abs=0.03)


def test_concordance_by_hand():
    # The pairs (1st, 2nd), (1st, 3rd) and (3rd, 2nd) are ordered; a censored run is never first.
    assert concordance([1, 5, 3], [1, 0, 1], [3, 2, 1], [0] * 3) == 2 / 3
    assert concordance([4, 4], [1, 0], [2, 1], [0] * 2) == 1  # a collapse comes before a censoring
    assert math.isnan(concordance([4, 4], [1, 1], [2, 1], [0] * 2))
    assert math.isnan(concordance([1, 2], [0, 0], [2, 1], [0] * 2))


def test_the_smallest_p_for_trend_is_reached_by_ordered_levels():
    times, x = [1, 2, 3, 4, 5, 6], [3, 3, 2, 2, 1, 1]
    assert smallest_trend_p([[2, 2, 2]]) == pytest.approx(1 / 90)
    assert exact_trend_p(times, [1] * 6, x) in (pytest.approx(1 / 90), pytest.approx(2 / 90))
    assert smallest_trend_p([[3, 3]]) == exact_trend_p(times, [1] * 6, [2, 2, 2, 1, 1, 1]) == 0.1
    assert smallest_trend_p([[3, 3], [3, 3]]) == pytest.approx(2 / 400)
    assert smallest_trend_p([[1, 1, 1]]) == pytest.approx(1 / 6)
    assert exact_trend_p([1, 2, 9], [1] * 3, [1.0, 2.0, 9.0]) == pytest.approx(1 / 6)
    assert smallest_trend_p([[1]]) == 1


def test_runs_of_one_unit_are_dealt_together():
    times, x = [1, 2, 11, 12, 21, 22], [3, 3, 2, 2, 1, 1]
    alone = trend_p(times, [1] * 6, x, [0] * 6, seed=0)
    together = trend_p(times, [1] * 6, x, [0] * 6, seed=0, units=list("aabbcc"))
    assert alone < 0.03
    assert together > 0.15  # of 3! orders at least one is as extreme


def test_an_update_that_a_running_run_lacks_is_left_out_of_the_mean():
    found = mean_curve([{0: 1.0, 5: 2.0, 7: 9.0}, {0: 3.0, 5: 4.0, 10: 6.0}])
    assert found.update.tolist() == [0, 5, 10]
    assert found.mean.tolist() == [2, 3, 6]


def test_the_mean_curve_by_hand():
    found = mean_curve([{0: 1.0, 1: 2.0, 2: 3.0}, {0: 3.0, 1: math.nan}, {0: 2.0}])
    assert found.update.tolist() == [0]  # later fewer than half are left
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
        ({2e-5: [28, 26, 24], 8e-5: [9, 11, 12]}, "undecided"),  # 3 against 3 cannot decide
        ({2e-5: [28, 26, 24, 25], 8e-5: [9, 11, 12, 8]}, "supported"),
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
    # 9!/(3!)^3 = 1680 assignments: 3! as extreme without the order of levels, 1 with it.
    assert row["details"]["log_rank"]["permutation_p"] == pytest.approx(6 / 1680)
    assert "0.0006" in row["limits"]
    assert row["details"]["collapsed_and_repetitive_at_the_end"] == 9
    assert judged(tmp_path / "b", SLOWER)[RATE].row()["details"]["medians_never_rise"] is False


def test_rates_of_two_temperatures_are_compared_within_each(tmp_path):
    cold = sweep(tmp_path / "cold", {2e-5: [8, 9, 7], 8e-5: [3, 4, 5]}, temperature=0.5)
    warm = sweep(tmp_path / "warm", {2e-5: [28, 29, 27], 8e-5: [22, 23, 24]}, temperature=1.0)
    claim = judge_claims({"learning rate": measured(cold + warm)})[RATE]
    assert claim.verdict == "supported"
    assert claim.finding.details["strata"] == 2
    assert claim.finding.details["log_rank"] is None
    pooled = judge_claims({"learning rate": measured(cold)})[RATE]
    assert pooled.verdict == "undecided"


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
    assert "0.17" in claim.limits  # 1 of 3! orders


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
        (("sotu", "wikitext2"), None, "supported"),
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
    assert len({claim.id for claim in claims}) == 7
    assert all(json.dumps(claim.row(), allow_nan=False) for claim in claims)


def test_evaluations_apart_say_nothing_of_each_update(tmp_path):
    assert judged(tmp_path / "each", FASTER)[RISES].verdict == "supported"
    thinned = measured(sweep(tmp_path / "fifth", FASTER, every=5))
    sparse = judge_claims({"learning rate": thinned})
    assert (sparse[RISES].verdict, sparse[TREND].verdict) == ("not tested", "supported")
    both = judge_claims({"learning rate": thinned, "size": measured(sizes(tmp_path / "s", SIZES))})
    assert (both[RISES].verdict, both[RISES].finding.group) == ("supported", "size")


def test_a_group_that_misses_runs_decides_nothing(tmp_path):
    groups = {"learning rate": measured(sweep(tmp_path, FASTER))}
    whole, part = judge_claims(groups), judge_claims(groups, {"learning rate": 2, "size": 9})
    assert whole[RATE].verdict == "supported"
    assert {claim.verdict for claim in part} == {"undecided", "not tested"}
    assert part[RATE].finding.reason.startswith("2 of the runs have not ended")


def test_claims_on_one_sweep_fall_back_on_another_group(tmp_path):
    runs = measured(sizes(tmp_path, SIZES))
    assert main_runs({"learning rate": [], "size": runs})[0] == "size"
    claims = judge_claims({"size": runs})
    assert claims[TREND].verdict == "supported"
    assert claims[TREND].finding.group == "size"


def test_every_entry_has_what_a_reader_needs(tmp_path):
    for claim in judged(tmp_path, FASTER, corpora=("sotu", "ptb")):
        row = claim.row()
        for field in ("id", "section", "sentence", "supports", "test", "rule", "limits", "reason"):
            assert row[field], (claim.id, field)
        assert row["verdict"] in ("supported", "not supported", "undecided", "not tested")
        json.dumps(row, allow_nan=False)
