"""The endings of a run: clocks, levels, each state on constructed rows and texts, real runs."""

import math

import numpy as np
import pytest
from test_run import Seen as Watcher
from test_run import do as run_quickstart
from test_run import untimed

import collapse_lm
from collapse_lm import rng
from collapse_lm.config import CollapseRule, load_config
from collapse_lm.errors import UserError
from collapse_lm.experiment.base_samples import base_values
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.facts import text_metrics
from collapse_lm.inference import inference_network
from collapse_lm.measures import judge
from collapse_lm.measures.endings import STATES, Clock, Endings, profile_of
from collapse_lm.measures.names import Row
from collapse_lm.measures.seen import Seen
from collapse_lm.report.card import verdict
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.summary import sum_up
from collapse_lm.sampling import Drafter, Filters, sample

from conftest import tiny_gpt2

RULE = CollapseRule()
NUMBERS = np.random.Generator(np.random.PCG64(5))
WORDS = 5000
ZIPF = 1 / (np.arange(WORDS) + 2.7)
ZIPF /= ZIPF.sum()


def do(overrides, path, *changes, **more):
    return run_quickstart(overrides, path, *changes, "run.report=false", "observers=[]", **more)


# --- clocks ------------------------------------------------------------------------------------


def stay(shown, patience=2):
    clock = Clock(patience)
    for update, letter in enumerate(shown, start=1):
        clock.see(update, {"y": True, "n": False, ".": None}[letter])
    return tuple(clock.stay(len(shown)).values())


@pytest.mark.parametrize(
    ("shown", "entered", "left", "updates", "entries"),
    [
        ("", None, None, 0, 0),
        ("ynyn", None, None, 0, 0),
        ("nyy", 2, None, 2, 1),
        ("ny.y..", 2, None, 5, 1),  # what says nothing breaks no streak
        ("yynyyn", 1, None, 6, 1),  # one clear observation is no recovery
        ("yynn", 1, 3, 2, 1),
        ("yyn.nnn", 1, 3, 2, 1),
        ("yynnyy", 1, None, 4, 2),
        ("yynnyynn", 1, 7, 4, 2),
    ],
)
def test_a_state_is_entered_and_left_by_streaks(shown, entered, left, updates, entries):
    assert stay(shown) == (entered, left, updates, entries)


# --- states on constructed rows ----------------------------------------------------------------


def series(of, updates=20, base=None):
    """Row 0, and rows whose numbers are functions of the update."""
    start = Row(0, {"validation.loss[a]": 3.0, "validation.loss[b]": 3.0, **(base or {})})
    return [start, *(Row(u, of(u)) for u in range(1, updates + 1))]


def entered(rows, rule=RULE):
    return {state: found["entered"] for state, found in profile_of(rows, rule).items()}


def only(**wanted):
    return {**dict.fromkeys(STATES), **wanted}


def test_drift_is_the_first_corpus_above_the_base_model_by_a_bound():
    rows = series(lambda u: {"validation.loss[a]": 3 + 0.1 * u, "validation.loss[b]": 3.0})
    assert entered(rows) == only(drift=6)
    rows = series(lambda u: {"validation.loss[a]": 3.0, "validation.loss[b]": 3 + u})
    assert entered(rows) == only()


def test_drift_may_be_seen_at_fixed_prefixes_and_counts_evaluations():
    rows = series(lambda u: {"prefix.kl": u / 10} if u % 2 == 0 else {})
    assert entered(rows) == only(drift=6)
    assert entered(series(lambda u: {"prefix.kl": u / 10} if u % 5 == 0 else {})) == only()


def test_a_loss_that_is_infinite_has_drifted_and_one_that_is_no_number_says_nothing():
    assert entered(series(lambda u: {"validation.loss[a]": math.inf}))["drift"] == 1
    assert entered(series(lambda u: {"validation.loss[a]": math.nan})) == only()


def test_mode_by_low_entropy_is_relative_to_the_first_probes_or_to_base_samples():
    def falling(u):
        return {"probe.entropy": 4.0 if u < 8 else 1.9}

    assert entered(series(falling)) == only(mode=8)
    known = {"base_samples.count": 9, "base_samples.entropy": 3.0, "base_samples.length": 9.0}
    assert entered(series(falling, base=known)) == only()


def test_few_different_4_grams_are_no_mode_of_long_samples_without_base_samples():
    def poor(tokens):
        return lambda u: {"pool.distinct_4": 0.5, "probe.length": tokens}

    assert entered(series(poor(400))) == only(mode=1)
    assert entered(series(poor(401))) == only()  # as many base models' own samples are
    # one that ends early, of five that are pooled with longer ones
    mixed = series(lambda u: {"pool.distinct_4": 0.5, "probe.length": 900 if u % 5 == 1 else 90})
    assert entered(mixed) == only()
    known = {"base_samples.count": 9, "base_samples.overlap": 0.1, "base_samples.length": 1024}
    known |= {f"base_samples.distinct_{n}": 0.9 if n == 4 else 0.0 for n in range(1, 5)}
    assert entered(series(poor(1024), base=known)) == only(mode=1)
    known["base_samples.distinct_4"] = 0.7
    assert entered(series(poor(1024), base=known)) == only()


def test_noise_is_a_high_entropy_of_a_model_that_predicts_real_text_worse():
    def numbers(u, rise=0.2, entropy=5.0, kl=0.0):
        known = {"validation.loss[a]": 3 + rise * u, "probe.entropy": entropy if u > 4 else 4.0}
        return known | {"prefix.kl": kl * u}

    assert entered(series(numbers)) == only(drift=3, noise=5)
    assert entered(series(lambda u: numbers(u, rise=0))) == only()
    assert entered(series(lambda u: numbers(u, entropy=4.3))) == only(drift=3)
    # far from the base model, and less sure, but no worse: it has learnt another kind of text
    assert entered(series(lambda u: numbers(u, rise=0.01, kl=0.2))) == only(drift=3)

    def without_losses(u):
        return {"prefix.kl": 0.2 * u, "probe.entropy": 5.0 if u > 4 else 4.0}

    assert entered(series(without_losses)) == only(drift=3, noise=5)


def test_shrink_is_samples_that_end_much_sooner_than_the_base_models():
    lengths = [40, 100, 60, 90, 10, *[60] * 3, *[8.0] * 20]
    assert entered(series(lambda u: {"probe.length": lengths[u - 1]})) == only(shrink=9)
    assert entered(series(lambda u: {"probe.length": 10 * u})) == only()
    known = {"base_samples.count": 9, "base_samples.entropy": 3.0, "base_samples.length": 50.0}
    short = series(lambda u: {"probe.length": 5}, base=known)
    assert entered(short) == only(shrink=1)


def looped(u, share):
    return {"text.loop_share": share, "text.seq_rep_4": 0.0, "probe.loss": 3.0}


def test_loop_is_the_collapse_rule_and_may_be_left():
    rows = series(lambda u: looped(u, 0.9 if 4 <= u < 14 else 0.0))
    found = profile_of(rows)["loop"]
    assert found == {"entered": 4, "left": 14, "updates": 10, "entries": 1}
    assert judge(rows).collapse_update == 4


def test_rows_of_earlier_releases_have_the_states_that_they_tell():
    rows = [Row(0, {"validation.loss[a]": 3.0})]
    rows += [Row(u, {"validation.loss[a]": 4.0, "train.loss": 1.0}) for u in range(1, 9)]
    assert entered(rows) == only(drift=1)
    assert entered([]) == only()
    assert list(profile_of(rows)) == list(STATES)


def test_memory_and_time_do_not_grow_with_the_run():
    endings = Endings()
    for row in series(lambda u: {"probe.length": 1, "probe.entropy": 1.0}, updates=3000):
        endings.see(row)
    assert len(endings.base._lengths) == RULE.patience
    assert len(endings._away) == 0


# --- the share of a batch ----------------------------------------------------------------------


def text(ids, loss=3.0, entropy=3.0):
    return Text(
        (0,), tuple(map(int, ids)), "own", "x", (-loss,) * len(ids), "", (), (entropy,) * len(ids)
    )


def diverse(tokens=200):
    return NUMBERS.choice(WORDS, tokens, p=ZIPF)


def row_of(seen, update, texts, entropy=3.0):
    """The row of an update that was judged by texts, as the loop makes it."""
    probe = Batch(tuple(texts))
    values = {"train.lr": 1e-4, "train.steps": 1, "probe.loss": 3.0, "probe.entropy": entropy}
    values |= text_metrics(probe)
    return Row(update, {**values, **seen.see(update, values, probe, probe)})


def test_the_share_of_degenerate_samples_decides_and_not_their_means():
    loop, good = text([*[1, 2] * 55, *diverse(90)]), [text(diverse()) for _ in range(3)]
    mostly_good = row_of(Seen(), 1, [loop, *good])
    assert mostly_good.get("probe.degenerate_share") == 0.25
    half = row_of(Seen(), 1, [loop, loop, *good[:2]])
    assert half.get("text.loop_share") < 0.4
    assert half.get("probe.degenerate_share") == 0.5

    def collapses(row, **rule):
        rows = [Row(u, row.values) for u in range(1, 6)]
        return judge(rows, CollapseRule(**rule)).reasons

    assert collapses(mostly_good) == ()
    assert collapses(half) == ("degenerate_share",)
    assert collapses(row_of(Seen(), 1, [loop] * 3))[0] == "loop_share"
    assert collapses(half, degenerate_share=0.6) == ()
    means = {n: v for n, v in mostly_good.values.items() if n != "probe.degenerate_share"}
    early = Row(1, {**means, "text.loop_share": 0.6})
    assert collapses(early) == ("loop_share",)  # as an earlier release recorded it
    assert collapses(Row(1, {**early.values, "probe.degenerate_share": 0.25})) == ()


def test_samples_that_are_degenerate_by_different_criteria_count_together():
    certain = text(diverse(), loss=0.01)
    row = row_of(Seen(), 1, [certain, text([1, 2] * 100), text(diverse()), text(diverse())])
    assert row.get("probe.degenerate_share") == 0.5


def test_a_probe_of_one_sample_is_judged_by_its_row():
    row = row_of(Seen(), 1, [text([1, 2] * 100)])
    assert "probe.degenerate_share" not in row.values
    assert row.get("probe.length") == 200


# --- the misses of the rule --------------------------------------------------------------------


def period(length, tokens):
    block = diverse(length)
    return [block[place % length] for place in range(tokens)]


def template(tokens=200):
    """A frame of four words, and a fifth that is always another."""
    return [NUMBERS.integers(10, WORDS) if place % 5 == 4 else place % 5 for place in range(tokens)]


MISSES = {
    "a period over 78": lambda: [text(period(90, 210))],
    "a paragraph printed twice": lambda: [text(period(100, 200))],
    "one token in five changes": lambda: [text(template(), entropy=1.4)],
    "eight equal diverse samples": lambda: [text(diverse())] * 8,
    "uniform over five tokens": lambda: [text(NUMBERS.integers(0, 5, 200))],
}
HEALTHY = 20


def states_after_a_miss(name, base=False, rule=RULE):
    """The states of a run that is healthy for a while, and then only misses."""
    make, seen = MISSES[name], Seen(rule)
    count = len(make())
    rows = [Row(0, {})]
    if base:
        samples = [text(diverse()) for _ in range(16 * count)]
        rows = [Row(0, base_values(samples, rule, count))]
    for update in range(1, HEALTHY + 2 * rule.patience + 1):
        texts = make() if update > HEALTHY else [text(diverse()) for _ in range(count)]
        entropy = float(np.mean([one.entropies[0] for one in texts]))
        rows.append(row_of(seen, update, texts, entropy))
    return entered(rows, rule)


@pytest.mark.parametrize("name", MISSES)
@pytest.mark.parametrize("base", [False, True], ids=["first-probes", "base-samples"])
def test_each_constructed_miss_is_a_mode_within_two_patience_lengths(name, base):
    found = states_after_a_miss(name, base)
    assert found["loop"] is None, "the collapse rule does not see it"
    assert HEALTHY < found["mode"] <= HEALTHY + RULE.patience + 1


def test_a_template_is_seen_by_its_words_alone_where_the_base_model_is_known():
    low = CollapseRule(low_entropy=0.01)
    assert states_after_a_miss("one token in five changes", base=True, rule=low)["mode"]
    assert states_after_a_miss("one token in five changes", base=False, rule=low) == only()


def test_healthy_samples_are_in_no_state():
    seen = Seen()
    rows = [Row(0, {}), *(row_of(seen, u, [text(diverse())]) for u in range(1, 60))]
    assert entered(rows) == only()


# --- broken at the start -----------------------------------------------------------------------


def degenerate_start(share, first=1):
    start = Row(0, {"base_samples.degenerate_share": share} if share is not None else {})
    probed = (Row(u, looped(u, 0.9 if u >= first else 0.0)) for u in range(1, 12))
    return sum_up([start, *probed], RULE).result("finished")["degenerate_before_training"]


def test_a_base_model_is_broken_at_the_start_where_its_samples_are():
    assert degenerate_start(None) is True
    assert degenerate_start(0.9) is True
    assert degenerate_start(0.1) is False  # it was one sample, by chance
    assert degenerate_start(0.9, first=4) is False  # it had recovered


# --- real runs ---------------------------------------------------------------------------------


def test_a_run_has_its_profile_in_the_summary_and_in_its_rows(tiny_overrides, tmp_path):
    changes = ["training.learning_rate=0.05", "run.max_updates=14", "collapse.stop=false"]
    changes += ["collapse.patience=2", "collapse.base_samples=20"]
    found = do(tiny_overrides, tmp_path / "r", *changes)
    rows, rule = RunReader(found.directory).updates(), load_config(found.directory).collapse
    profile = found.summary["endings"]
    assert profile == profile_of(rows, rule)
    assert list(profile) == list(STATES)
    (start,) = rows[0].labelled("validation.loss").values()
    away = [next(iter(row.labelled("validation.loss").values())) - start for row in rows]
    assert profile["drift"]["entered"] == next(
        at for at in range(len(away)) if min(away[at : at + 2]) > rule.drift
    )
    assert profile["loop"]["entered"] == found.collapse_update
    assert profile["mode"]["entered"] is not None
    first = rows[0].values
    assert first["base_samples.count"] == 20
    assert first["base_samples.length"] == 40
    assert first["base_samples.entropy"] == pytest.approx(rows[1].get("probe.entropy"), rel=0.3)
    assert 0 <= first["base_samples.overlap"] < 0.5 < first["base_samples.distinct_4"] <= 1


def test_six_updates_are_three_and_three_with_samples_of_the_base_model(tiny_overrides, tmp_path):
    changes = ["collapse.base_samples=18", "sampling.batch_size=2", "sampling.stop_at_eos=true"]
    changes += ["sampling.min_new_tokens=5", "run.checkpoint_every=50"]
    whole = do(tiny_overrides, tmp_path / "whole", *changes)
    watcher = Watcher()
    stop = {"observers": [watcher], "should_stop": lambda: watcher.updates[-1] == 3}
    do(tiny_overrides, tmp_path / "parts", *changes, **stop)
    parts = collapse_lm.resume(tmp_path / "parts")
    assert untimed(parts.directory) == untimed(whole.directory)
    assert parts.summary == whole.summary


def test_samples_of_the_base_model_change_no_update(tiny_overrides, tmp_path):
    plain, known = (
        do(tiny_overrides, tmp_path / name, f"collapse.base_samples={count}", "run.max_updates=2")
        for name, count in (("plain", 0), ("known", 3))
    )
    assert untimed(plain.directory)[1:] == untimed(known.directory)[1:]
    told = RunReader(known.directory).updates()[0].values
    assert "base_samples.entropy" in told
    assert "base_samples.overlap" not in told, "three are too few for the last five probes"


def test_the_profile_may_be_asked_for_by_other_bounds_after_the_run(tiny_overrides, tmp_path):
    found = do(tiny_overrides, tmp_path / "r", "training.learning_rate=0.05", "collapse.drift=50")
    assert found.summary["endings"]["drift"]["entered"] is None
    rows = RunReader(found.directory).updates()
    assert profile_of(rows, CollapseRule(patience=1, drift=0.01))["drift"]["entered"] is not None


def test_a_card_says_which_states_a_run_got_into():
    def told(rise):
        rows = series(lambda u: {"validation.loss[a]": 3 + rise * u, "train.loss": 3.0}, updates=9)
        return verdict(sum_up(rows, RULE).result("finished"), rows)

    assert told(0.25).endswith("(censored: reached run.max_updates). Drift from update 3.")
    assert told(0).endswith("(censored: reached run.max_updates).")


# --- the shortest sample -----------------------------------------------------------------------


def drawn(*, drafted=False, **settings):
    """Sixteen samples of a tiny model; the third token of the first is what ends them."""
    network = inference_network(tiny_gpt2(), "float32")
    uniform_BT = rng.uniforms(rng.stream(0, "sample"), 16, 40)
    filters = Filters(temperature=0.5)
    stop = sample(network, [256], uniform_BT, filters).samples[0][2]
    drafter = Drafter(8) if drafted else None
    more = {"stop_token": stop, "drafter": drafter, **settings}
    return stop, sample(network, [256], uniform_BT, filters, **more).samples


def test_a_sample_does_not_end_before_its_least_length():
    stop, plain = drawn()
    assert len(plain[0]) <= 3
    _, longer = drawn(least_tokens=10)
    assert all(stop not in ids[:10] for ids in longer)
    assert len(longer[0]) > 10
    assert any(len(ids) < 40 and ids[-1] == stop for ids in longer)
    assert all(len(ids) == 40 or ids.index(stop) == len(ids) - 1 for ids in longer)


def test_a_least_length_means_nothing_without_an_end():
    assert drawn(least_tokens=10, stop_token=None) == drawn(stop_token=None)


def test_speculation_draws_the_same_tokens_under_a_least_length():
    assert drawn(drafted=True, least_tokens=10) == drawn(least_tokens=10)


def test_a_least_length_above_the_length_is_refused():
    with pytest.raises(UserError) as caught:
        load_config("quickstart", ["sampling.min_new_tokens=300"])
    (problem,) = caught.value.problems
    assert "at most sampling.max_new_tokens (200)" in problem.expected


def test_samples_without_a_4_gram_have_the_levels_that_they_have():
    from collapse_lm.experiment.base_samples import pool_levels

    long, short = tuple(range(10)), (1, 2)
    told = pool_levels([long, long, short, short, long, short], 1)
    assert told["base_samples.distinct_1"] > 0
    assert told["base_samples.overlap"] == 1.0  # of those that have 4-grams
