"""The law of dose: events, exponents recovered from data that have them, lines, sizes."""

import json
import math
import random
from dataclasses import replace
from functools import partial

import pytest
from run_dirs import write_run

from collapse_lm.analysis.events import EventTime, dose_at, entropy_halved, loop, rise
from collapse_lm.analysis.law import Line, exponent, laws_of, line, order_of, ratio_of
from collapse_lm.analysis.outcomes import at_risk, measure_runs
from collapse_lm.analysis.sizes import ModelLine, effects_of_size, model_lines, size_effects
from collapse_lm.measures.names import Row
from collapse_lm.report.law_page import write_laws
from collapse_lm.rundir import find_runs

RATES = (1e-5, 3e-5, 1e-4, 3e-4)


def times_of(power, *, seeds, spread, chance, horizon=math.inf, constant=1.0, apart=0.0):
    """Times with a known power; half of the variance of their logarithms is shared in a seed."""
    found = []
    for seed in range(seeds):
        shared = chance.gauss(0, spread / math.sqrt(2))
        for rate in RATES:
            noise = shared + chance.gauss(0, spread / math.sqrt(2))
            time = constant * (rate / 1e-4) ** power * math.exp(noise)
            seen = EventTime(min(time, horizon), time <= horizon, apart if time <= horizon else 0)
            found.append((seen, rate, seed))
    return tuple(zip(*found, strict=True))


@pytest.mark.parametrize("power", [-1, -2])
@pytest.mark.parametrize("horizon", [math.inf, 300])
def test_intervals_hold_a_known_exponent(power, horizon):
    chance = random.Random(f"{power} {horizon}")
    held, widths = 0, []
    for _ in range(60):
        columns = times_of(
            power, seeds=5, spread=0.4, chance=chance, horizon=horizon, constant=40, apart=2
        )
        found = exponent(*columns)
        held += found.lower <= power <= found.upper
        widths.append(found.upper - found.lower)
    assert held >= 54  # 95 % nominal; 90 % of 60
    assert sorted(widths)[30] < 1.0  # and they say something


def test_an_exponent_without_noise_is_exact():
    columns = times_of(-1.5, seeds=4, spread=1e-9, chance=random.Random(0), constant=50)
    assert exponent(*columns).value == pytest.approx(-1.5, abs=1e-6)


def test_few_seeds_have_no_interval():
    found = exponent(*times_of(-1, seeds=2, spread=0.3, chance=random.Random(1), constant=50))
    assert math.isnan(found.lower)
    assert "fewer than 3 seeds" in found.note


def test_times_that_are_known_roughly_make_a_wider_interval():
    fine = exponent(*times_of(-1, seeds=6, spread=0.02, chance=random.Random(2), constant=20))
    rough = exponent(
        *times_of(-1, seeds=6, spread=0.02, chance=random.Random(2), constant=20, apart=5)
    )
    assert rough.value == fine.value
    assert rough.upper - rough.lower > 3 * (fine.upper - fine.lower)


def test_a_line_through_times():
    chance = random.Random(3)
    times, rates, _ = times_of(-1, seeds=9, spread=1e-6, chance=chance, constant=30)
    through = line(times, rates)
    assert through.time(1e-4) == pytest.approx(30, rel=1e-3)
    assert through.time(5e-5) == pytest.approx(60, rel=1e-3)


def test_there_is_no_line_where_one_rate_alone_shows_the_event():
    times = [EventTime(50, observed=True)] * 2 + [EventTime(90, observed=False)] * 2
    assert exponent(times, [2e-4, 2e-4, 1e-4, 1e-4], [0] * 4).bound
    assert math.isnan(line(times, [2e-4, 2e-4, 1e-4, 1e-4]).slope)
    middle = [EventTime(t, observed=t < 30) for t in (50, 20, 22, 60)]
    assert math.isnan(line(middle, [1e-5, 2e-5, 2e-5, 4e-5]).slope)


def test_amounts_that_hardly_differ_give_no_error():
    times = [EventTime(50, observed=True), EventTime(70, observed=True)]
    assert math.isnan(line(times, [1.0000e-3, 1.0001e-3]).slope)  # beyond all numbers
    steep = line(times, [1.000e-3, 1.001e-3])
    assert steep.time(1.001e-3) == pytest.approx(70, rel=0.2)
    assert (steep.time(1e6), steep.time(1e-9)) == (math.inf, 0)


# --- events of runs ---------------------------------------------------------------------------


def measured(tmp_path, **asked):
    reader = write_run(tmp_path / f"r{len(list(tmp_path.iterdir()))}", **asked)
    return measure_runs([reader])[0][0]


def test_a_rise_is_read_off_the_line_between_two_evaluations(tmp_path):
    run = measured(
        tmp_path, updates=40, every=5, validation=lambda update, corpus: 3 + (update / 20) ** 2
    )
    # 3.25 at update 10, 3.5625 at 15: half a nat at 10 + 5 x .25 / .3125
    assert rise(run) == EventTime(pytest.approx(14.0), observed=True, apart=5)
    flat = measured(tmp_path, updates=40, every=5, validation=lambda update, corpus: 3.0)
    assert rise(flat) == EventTime(40, observed=False)


def test_a_loss_that_is_no_number_is_above_any(tmp_path):
    run = measured(
        tmp_path, updates=20, every=10, validation=lambda u, corpus: math.nan if u == 20 else 3.0
    )
    assert rise(run) == EventTime(20, observed=True, apart=10)


def test_the_loop_is_the_collapse_update(tmp_path):
    run = measured(tmp_path, collapse=12)
    assert loop(run) == EventTime(12, observed=True, apart=1)
    assert loop(measured(tmp_path, updates=30)) == EventTime(30, observed=False)


def test_the_dose_at_a_time_adds_the_rates_up(tmp_path):
    run = measured(tmp_path, updates=30, rate=1e-3)
    assert dose_at(run, 10) == pytest.approx(0.01)
    assert dose_at(run, 10.5) == pytest.approx(0.0105)


def test_entropy_is_halved_where_a_median_of_five_probes_is(tmp_path):
    run = measured(tmp_path, updates=30)
    falls = [Row(u, {"probe.entropy": 4 - 0.1 * u + (3 if u == 12 else 0)}) for u in range(1, 31)]
    # The first probe has 3.9; 1.95 is reached at 20.5, where one high probe is long past.
    assert entropy_halved(replace(run, rows=falls)) == EventTime(
        pytest.approx(20.5), observed=True, apart=1
    )
    stays = [Row(u, {"probe.entropy": 4.0}) for u in range(1, 31)]
    assert entropy_halved(replace(run, rows=stays)) == EventTime(28, observed=False)
    assert entropy_halved(replace(run, rows=[])) == EventTime(0, observed=False)


# --- a sweep ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Runs at four rates whose collapse comes at a dose of 3.6e-3, at three seeds."""
    out = tmp_path_factory.mktemp("swept")
    for seed, factors in enumerate(((0.9, 1, 1, 0.9), (1, 0.9, 1, 1), (1.1, 1.1, 0.9, 1))):
        for factor, rate in zip(factors, RATES, strict=True):
            collapse = max(1, round(factor * 3.6e-3 / rate))
            write_run(
                out / f"{rate}-{seed}",
                collapse=collapse,
                rate=rate,
                seed=seed,
                every=5,
                validation=lambda u, corpus, rate=rate: 3 + u * rate / 3.6e-3,
            )
    return measure_runs_in(out)


def measure_runs_in(out):
    return measure_runs(find_runs(out))[0]


def test_a_sweep_has_a_law_for_each_event(swept):
    laws = {law.event: law for law in laws_of(["training.learning_rate"], swept)}
    assert laws["loop"].exponent.value == pytest.approx(-1, abs=0.05)
    assert laws["loop"].exponent.lower <= -1 <= laws["loop"].exponent.upper
    assert laws["validation +0.5 nats"].exponent.value == pytest.approx(-1, abs=0.05)
    levels = laws["loop"].levels
    assert [level.amount for level in levels] == list(RATES)
    assert all(level.dose == pytest.approx(3.6e-3, rel=0.05) for level in levels)
    assert laws_of(["sampling.temperature"], swept) == []
    by_arm = laws_of(["training.learning_rate", "sampling.temperature"], swept)
    assert {law.arm for law in by_arm} == {"temperature 0.8"}


def test_the_page_of_laws_is_written_and_taken_away(swept, tmp_path):
    write_laws(["training.learning_rate"], swept, tmp_path)
    found = json.loads((tmp_path / "law.json").read_text())
    assert found["laws"][0]["event"] == "loop"
    page = (tmp_path / "law.md").read_text()
    assert "| 1e-5 | 3 | 3 | 360" in page
    write_laws(["sampling.temperature"], swept, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_order_of_arms(swept):
    arms = [[r for r in swept if r.outcome.learning_rate == rate] for rate in RATES[::-1]]
    told = order_of(arms, loop)
    assert told.concordance == 1
    assert told.test.p_value < 0.01
    assert order_of(arms[::-1], loop).concordance == 0
    assert ratio_of(arms[0], arms[1], loop).value == pytest.approx(3, rel=0.1)
    assert order_of([[], []], loop).ratios == ()
    assert ratio_of([], [], loop).note == "no runs"


# --- sizes ------------------------------------------------------------------------------------


def models_with(effect, *, exponent_of_rate=-1.0, noise=0.05):
    """Models whose time at one rate goes as parameters^effect."""
    chance = random.Random(5)
    sizes = [(32, 165_000), (64, 429_000), (128, 1_350_000), (256, 5_060_000)]
    return [
        ModelLine(
            f"ladder:{width}x2@{block}",
            width,
            str(block),
            parameters,
            line_at(300 * (parameters / 165_000) ** effect, exponent_of_rate, chance, noise),
            8,
            8,
            5.0,
        )
        for block in range(3)
        for width, parameters in sizes
    ]


def line_at(time, slope, chance, noise):
    return Line(math.log(time) + chance.gauss(0, noise) - slope * math.log(2e-5), slope)


def test_the_effect_of_size_depends_on_the_rule_for_the_rate():
    shared, root, inverse = size_effects(models_with(-0.41), 2e-5)
    truth = (5_060 / 165) ** 0.41  # 4.07 at one rate
    assert shared.lower < truth < shared.upper
    assert shared.ratio == pytest.approx(truth, rel=0.15)
    # widths 32 to 256: a rate that falls by 8^power makes the largest that much later
    assert root.ratio == pytest.approx(truth / 8**0.5, rel=0.25)
    assert inverse.ratio == pytest.approx(truth / 8, rel=0.4)
    assert inverse.upper < 1 < shared.lower
    assert shared.models == 12
    assert shared.test.p_value < 0.01


def test_a_size_that_does_nothing_is_not_told_to():
    shared = size_effects(models_with(0.0), 2e-5)[0]
    assert shared.lower < 1 < shared.upper


def test_the_lines_of_models_are_read_from_runs(tmp_path):
    for model, constant, parameters in (("ladder:32x2@1", 2.0, 165_000), ("gpt2", 1.0, 10)):
        for rate in (1e-4, 2e-4):
            write_run(
                tmp_path / f"{model.replace(':', '-')}-{rate}",
                collapse=round(constant * 3e-3 / rate),
                rate=rate,
                model=model,
                parameters=parameters,
            )
    (found,) = model_lines(at_risk(measure_runs_in(tmp_path))[0])
    assert (found.width, found.block, found.parameters) == (32, "1", 165_000)
    assert found.line.time(1e-4) == pytest.approx(60)
    assert found.line.slope == pytest.approx(-1)


def test_models_that_move_equally_far_are_compared_by_the_relative_step(tmp_path):
    """Two sizes that loop after equally long a way; the larger one moves twice as far per rate."""
    sizes = (("ladder:32x2", 165_000, 1.0), ("ladder:256x2", 5_060_000, 2.0))
    for model, parameters, factor in sizes:
        for block in range(3):
            for rate, wobble in ((1e-4, 1.0), (2e-4, 1.03), (4e-4, 0.97)):
                write_run(
                    tmp_path / f"{model[7:]}-{block}-{rate}",
                    collapse=round((60 + block) * 1e-4 / (rate * factor) * wobble),
                    rate=rate,
                    model=f"{model}@{block}",
                    parameters=parameters,
                )
    runs = [
        replace(run, rows=[*map(partial(with_step, run.outcome), run.rows)])
        for run in measure_runs_in(tmp_path)
    ]
    *by_rate, by_step = effects_of_size(runs)
    assert len(by_rate) == 3
    assert by_rate[0].lower > 1.5
    assert math.isnan(by_step.power)
    assert by_step.ratio == pytest.approx(1, abs=0.15)


def with_step(outcome, row):
    step = outcome.learning_rate * (2.0 if outcome.parameters > 10**6 else 1.0)
    return Row(row.update, {**row.values, "drift.step": step})
