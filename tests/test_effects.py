"""Sweeps over any key: columns, levels, figures and effects, and what is not judged."""

import csv
import json
import math

import pytest
from run_dirs import HOSTILE, write_run

from collapse_lm.analysis.claims.scope import SIZES, why_not_judged
from collapse_lm.analysis.columns import COLUMNS
from collapse_lm.analysis.effects import effects_of
from collapse_lm.analysis.outcomes import measure_runs
from collapse_lm.analysis.settings import levels_of, setting
from collapse_lm.config import resolve
from collapse_lm.measures.names import NAMES
from collapse_lm.report.effects_page import effect_lines
from collapse_lm.report.reproduction import write_reproduction
from collapse_lm.report.sweep import write_sweep

DECAY, TOP_K = "training.weight_decay", "sampling.top_k"


def swept(folder, key, times, **options):
    """Runs of {value: [collapse update or None, ...]}, one per seed from 0 on."""
    return [
        write_run(
            folder / f"{place}-{seed}",
            seed=seed,
            collapse=collapse,
            overrides=[*options.get("overrides", ()), f"{key}={json.dumps(value)}"],
            **{name: option for name, option in options.items() if name != "overrides"},
        )
        for place, (value, collapses) in enumerate(times.items())
        for seed, collapse in enumerate(collapses)
    ]


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def figures(out):
    return {path.stem for path in (out / "figures").glob("*.svg")}


def test_every_swept_key_is_a_column_of_every_table(tmp_path):
    runs = swept(tmp_path / "r", DECAY, {0.0: [9, 8], 0.1: [20, 22]})
    write_sweep([DECAY, "source", "evaluation.tokens", "model"], None, runs, tmp_path / "out", 4)
    for name in ("runs", "updates"):
        rows = table(tmp_path / "out" / "tables" / f"{name}.csv")
        assert {row[DECAY] for row in rows} == {"0.0", "0.1"}
        assert {row["source"] for row in rows} == {'{"kind": "own"}'}
        assert {row["evaluation.tokens"] for row in rows} <= {"null", "2048", "4096"}
    rows = table(tmp_path / "out" / "tables" / "survival.csv")
    assert {(row[DECAY], row["collapses"]) for row in rows} == {("0.0", "2"), ("0.1", "2")}


def test_a_setting_is_that_of_the_recorded_configuration():
    config = resolve({"training": {"weight_decay": "1e-2"}, "sampling": {"stop_at_eos": True}})
    assert setting(config, DECAY) == 0.01
    assert setting(config, "sampling.stop_at_eos") is True
    assert setting(config, "training.betas") == "[0.9, 0.95]"  # where it is today
    assert setting(config, "source.path") is None
    assert json.loads(setting(config, "training.optimizer"))["kind"] == "adamw"


def test_levels_are_in_the_order_of_their_values_and_named_apart(tmp_path):
    runs = swept(tmp_path / "a", TOP_K, {50: [5], 5: [5], 500: [5]})
    names = [level.name for level in levels_of([TOP_K], measure_runs(runs)[0])]
    assert names == ["5", "50", "500"]
    both = runs + swept(tmp_path / "b", TOP_K, {5: [5]}, overrides=[f"{DECAY}=0.5"])
    names = [level.name for level in levels_of([TOP_K, DECAY], measure_runs(both)[0])]
    assert names[:2] == ["top_k 5, weight_decay 0.1", "top_k 5, weight_decay 0.5"]
    models = {"/a/large": 10**7, "/a/small": 10**5, "/b/large": 10**6}
    many = [
        write_run(tmp_path / "c" / model[1:], model=model, parameters=size)
        for model, size in models.items()
    ]
    found = measure_runs(many)[0]
    assert [level.name for level in levels_of(["model"], found)] == [
        *("/a/small", "/b/large", "/a/large"),
    ]


def test_the_effect_of_a_key_is_a_time_ratio(tmp_path):
    times = {0.0: [5, 6, 7], 0.1: [10, 12, 14], 0.2: [20, 24, 28]}
    (effect,) = effects_of([DECAY], measure_runs(swept(tmp_path, DECAY, times))[0])
    assert (effect.key, effect.scale) == (DECAY, "linear")
    assert effect.ratio.value == pytest.approx(4)
    assert [level.median for level in effect.levels] == [6, 12, 24]
    assert [level.ratio.value for level in effect.levels][1:] == pytest.approx([2, 4])
    alike = "no interval, as times are so alike that no seed makes a difference"
    assert (effect.ratio.note, math.isnan(effect.ratio.lower)) == (alike, True)
    times |= {0.1: [11, 12, 13], 0.2: [20, 25, 28]}
    (effect,) = effects_of([DECAY], measure_runs(swept(tmp_path / "b", DECAY, times))[0])
    assert effect.ratio.lower < effect.ratio.value < effect.ratio.upper
    assert effect.test.p_value == effect.test.smallest == 2 / 6**3
    assert effect.concordance == 0  # the more of it, the later


def test_two_seeds_give_no_interval_and_the_page_says_so(tmp_path):
    times = {0: [8, 10], 0.1: [8, 7], 1: [9, 8], 3: [8, 8]}
    report = write_sweep([DECAY], None, swept(tmp_path / "r", DECAY, times), tmp_path / "out", 8)
    (line,) = effect_lines(report.effects)
    assert line.startswith(
        f"{DECAY}: 0 to 3: time to collapse x 1 (no interval from fewer than 3 seeds), p = "
    )
    page = (tmp_path / "out" / "effects.md").read_text()
    assert "no limit to no limit" not in page
    assert "| 3 | 2 | 2 | 2 | 8 (no interval) |" in page
    assert "- Test: all 576 distinct assignments, which" in page


def test_a_base_model_that_was_degenerate_has_no_time_to_collapse(tmp_path):
    """Greedy samples loop before any training: that is no effect of what came later."""
    temperature = "sampling.temperature"
    runs = [
        write_run(tmp_path / "r" / f"{t}-{s}", seed=s, temperature=t, collapse=time)
        for t, times in ((0.0, [1, 1, 1]), (0.8, [9, 12, 14]), (1.0, [18, 25, 28]))
        for s, time in enumerate(times)
    ]
    out = tmp_path / "out"
    (effect,) = write_sweep([temperature], None, runs, out, 9).effects
    assert [level.name for level in effect.levels] == ["0.8", "1"]
    assert {row[temperature] for row in table(out / "tables" / "survival.csv")} == {"0.8", "1.0"}
    began = {
        (row["collapse_update"], row["degenerate_before_training"])
        for row in table(out / "tables" / "runs.csv")
        if row[temperature] == "0.0"
    }
    assert began == {("1", "True")}
    page = (out / "effects.md").read_text()
    assert page.count("degenerate before any training, so it has no time to collapse") == 3
    assert "have not ended" not in page
    assert "<!-- 0 -->" in (out / "figures" / "curves.svg").read_text()  # its losses are shown
    report = write_sweep([temperature], None, runs[:3], out, 3)
    assert report.effects == ()
    assert report.not_drawn == {"survival": "every run was degenerate before any training"}
    write_reproduction({"phase": runs, "learning rate": runs[:3]}, tmp_path / "paper")
    phase = (tmp_path / "paper" / "figures" / "phase.svg").read_text()
    assert "<!-- 3/3 -->" in phase
    captions = (tmp_path / "paper" / "figures" / "captions.md").read_text()
    assert "survival: no run of the group learning rate has a time to collapse" in captions
    claims = json.loads((tmp_path / "paper" / "claims.json").read_text())
    onset = [claim for claim in claims if claim["id"] == "higher-rate-collapses-faster"]
    assert onset[0]["verdict"] == "not tested"


def test_runs_csv_tells_the_collapse_and_the_entropy(tmp_path):
    runs = swept(tmp_path / "r", DECAY, {0.0: [9, None]})
    write_sweep([DECAY], None, runs, tmp_path / "out", 2)
    rows = table(tmp_path / "out" / "tables" / "runs.csv")
    assert [(row["collapse_update"], row["time"]) for row in rows] == [("9", "9"), ("", "30")]
    assert {(row["entropy_first"], row["entropy_last"]) for row in rows} == {("2.0", "2.0")}


def test_every_column_of_every_table_is_explained(tmp_path):
    runs = swept(tmp_path / "r", DECAY, {0.0: [9, 8], 0.1: [20, None]}, corpora=("sotu", "a:b_c"))
    write_sweep([DECAY], None, runs, tmp_path / "sweep", 4)
    write_reproduction({"learning rate": runs}, tmp_path / "paper")
    keys = {DECAY, "training.learning_rate"}
    seen = {name: set() for name in ("runs", "updates", "survival")}
    for place in ("sweep", "paper"):
        for name, columns in seen.items():
            header = (tmp_path / place / "tables" / f"{name}.csv").read_text().partition("\n")[0]
            written = {
                c.replace("sotu", "CORPUS").replace("a:b_c", "CORPUS") for c in header.split(",")
            }
            columns |= {"KEY" if column in keys else column for column in written}
    for name, columns in seen.items():
        assert columns == {column for column, known in COLUMNS.items() if name in known.tables}
    names = {known.name.partition("[")[0] for known in COLUMNS.values() if known.name}
    assert names <= {*NAMES, "update"}


def test_a_mean_of_losses_ends_with_the_first_of_two_runs(tmp_path):
    runs = swept(tmp_path / "r", DECAY, {0.0: [2, 9]})
    write_sweep([DECAY], None, runs, tmp_path / "out", 2)
    caption = (tmp_path / "out" / "figures" / "captions.md").read_text()
    assert "mean over the runs of a level while all of them are running" in caption


def test_updates_are_whole_numbers_on_an_axis(tmp_path):
    runs = swept(tmp_path / "r", DECAY, {0.0: [None], 0.1: [None]}, updates=2)
    write_sweep([DECAY], None, runs, tmp_path / "out", 2)
    for name in ("curves", "survival"):
        svg = (tmp_path / "out" / "figures" / f"{name}.svg").read_text()
        assert "<!-- 2 -->" in svg
        assert "<!-- 1.5 -->" not in svg.partition('id="matplotlib.axis_2"')[0]


def test_other_keys_are_held_equal(tmp_path):
    """Within each sample length a higher rate halves the time, though lengths differ by more."""
    runs = []
    for length, slow in ((50, [20, 22, 24]), (200, [4, 6, 8])):
        for rate, half in ((1e-4, 1), (1e-3, 2)):
            runs += [
                write_run(
                    tmp_path / f"{length}-{rate}-{seed}",
                    seed=seed,
                    rate=rate,
                    length=length,
                    collapse=time // half,
                )
                for seed, time in enumerate(slow)
            ]
    keys = ["training.learning_rate", "sampling.max_new_tokens"]
    rate, length = effects_of(keys, measure_runs(runs)[0])
    assert rate.scale == length.scale == "logarithmic"
    assert rate.ratio.value == pytest.approx(0.5)
    assert length.ratio.value == pytest.approx(6 / 22, rel=0.1)


def test_words_have_no_order(tmp_path):
    times = {"auto": [5, 6, 7], "off": [10, 12, 14], 3: [20, 24, 28]}
    runs = swept(tmp_path, "sampling.speculation", times)
    (effect,) = effects_of(["sampling.speculation"], measure_runs(runs)[0])
    assert effect.scale == "words"
    assert math.isnan(effect.ratio.value)
    assert math.isnan(effect.test.p_value)
    assert [level.name for level in effect.levels] == ["3", "auto", "off"]
    assert [level.ratio.value for level in effect.levels][1:] == pytest.approx([0.25, 0.5])
    two = [run for run in runs if not run.path.name.startswith("2")]
    (effect,) = effects_of(["sampling.speculation"], measure_runs(two)[0])
    assert effect.ratio.value == pytest.approx(2)
    assert effect.test.p_value == 2 / 2**3


def test_seeds_of_one_model_are_no_second_model(tmp_path):
    runs = [
        write_run(tmp_path / f"{n}-{s}", seed=s, model=f"m{n}", parameters=n, collapse=c)
        for n, times in ((10**5, [20, 22, 24]), (10**6, [10, 11, 12]))
        for s, c in enumerate(times)
    ]
    (effect,) = effects_of(["model"], measure_runs(runs)[0])
    assert effect.ratio.value == pytest.approx(0.5)
    assert effect.test.p_value == 1  # two models can be dealt in two ways


def test_controls_that_do_not_train_are_no_level(tmp_path):
    runs = [write_run(tmp_path / "0", rate=0.0), write_run(tmp_path / "1", rate=1e-3, collapse=5)]
    assert effects_of(["training.learning_rate"], measure_runs(runs)[0]) == []


@pytest.mark.parametrize(
    "times",
    [
        {0.0: [None] * 3, 0.1: [4, 5, 6]},  # separated: no finite hazard ratio
        {0.0: [4, 5, 6], 0.1: [20, 21, 22]},
        {0.0: [None] * 3, 0.1: [None] * 3},
        {0.0: [2], 0.1: [None]},
    ],
)
def test_whatever_was_found_is_told_without_infinity(times, tmp_path):
    out = tmp_path / "out"
    report = write_sweep([DECAY], None, swept(tmp_path / "r", DECAY, times), out, 6)
    page = (out / "effects.md").read_text() + "\n".join(effect_lines(report.effects))
    for word in ("hazard", "∞", "infinit", "inf ", "nan", "supported", "Penn Treebank"):
        assert word not in page
    rows = json.loads((out / "effects.json").read_text())
    assert [row["key"] for row in rows] == [DECAY]
    assert "bound" in rows[0]["time_ratio"]
    assert figures(out) == {"curves", "survival", "endings"}


def test_curves_and_survival_are_grouped_by_any_key(tmp_path):
    runs = swept(tmp_path / "r", DECAY, {0.0: [9, 8], 0.1: [20, None]})
    write_sweep([DECAY], None, runs, tmp_path / "out", 4)
    for name, words in (("curves", ["0", "0.1"]), ("survival", ["0 (2)", "0.1 (2)"])):
        svg = (tmp_path / "out" / "figures" / f"{name}.svg").read_text()
        assert all(f"<!-- {word} -->" in svg for word in (*words, "updates"))
        assert DECAY in svg


def grid(folder, rates, decays):
    return [
        write_run(folder / f"{rate}-{decay}", rate=rate, collapse=5, overrides=[f"{DECAY}={decay}"])
        for rate in rates
        for decay in decays
    ]


def test_few_combinations_share_a_figure_and_many_have_one_per_key(tmp_path):
    keys = ["training.learning_rate", DECAY]
    rates, out = [place * 1e-5 for place in range(1, 8)], tmp_path / "out"
    write_sweep(keys, None, grid(tmp_path / "few", rates[:2], [0, 0.1]), out, 4)
    assert figures(out) == {"curves", "survival", "endings", "dose-1", "dose-2"}
    assert "<!-- learning_rate 1e-5, weight_decay 0 -->" in (
        (out / "figures" / "curves.svg").read_text()
    )
    write_sweep(keys, None, grid(tmp_path / "many", rates, [0, 0.1]), out, 14)
    both = {f"{kind}-{key}" for kind in ("curves", "survival") for key in ("learning_rate",)}
    by_decay = {"curves-weight_decay", "survival-weight_decay"}
    assert figures(out) == both | by_decay | {"endings", "dose-1", "dose-2"}


def test_a_sweep_over_seeds_alone_has_one_level(tmp_path):
    runs = [write_run(tmp_path / str(seed), seed=seed, collapse=5 + seed) for seed in range(3)]
    report = write_sweep([], None, runs, tmp_path / "out", 3)
    assert report.effects == ()
    assert figures(tmp_path / "out") == {"curves", "survival"}
    assert "nothing is compared" in (tmp_path / "out" / "effects.md").read_text()


def test_where_no_figure_is_drawn_the_reason_is_told(tmp_path):
    out = tmp_path / "out"
    failed = [write_run(tmp_path / "f", status="failed")]
    report = write_sweep([DECAY], None, failed, out, 3)
    assert report.not_drawn == dict.fromkeys(("curves", "survival"), "no run has ended")
    captions = (out / "figures" / "captions.md").read_text()
    assert "- curves: no run has ended" in captions
    page = (out / "effects.md").read_text()
    assert "**3 runs have not ended" in page
    assert "- `f`: status: failed" in page
    many = swept(tmp_path / "m", DECAY, {place / 100: [5] for place in range(29)})
    report = write_sweep([DECAY], None, many, out, 29)
    assert "29 values of training.weight_decay" in report.not_drawn["survival"]


@pytest.mark.parametrize(
    ("options", "group", "why"),
    [
        ({}, "learning rate", ""),
        ({"corpora": ("ptb",)}, "size", ""),
        ({"corpora": ("text:a.txt", "sotu")}, "learning rate", "other texts"),
        ({"parameters": 37_792}, "learning rate", "not every model"),
        ({}, None, "varies something else"),
        ({}, "phase", "varies something else"),
    ],
)
def test_the_papers_sentences_are_for_runs_that_have_what_they_speak_of(
    options, group, why, tmp_path
):
    given = {"parameters": SIZES[0], "corpora": ("wikitext2", "ptb"), "collapse": 5} | options
    runs = [
        write_run(tmp_path / f"{rate}-{seed}", rate=rate, seed=seed, **given)
        for rate in (1e-5, 1e-4)
        for seed in range(3)
    ]
    out = tmp_path / "out"
    out.mkdir()
    for stale in ("claims.json", "claims.md", "table1.md"):
        (out / stale).write_text("of an earlier release")
    report = write_sweep(["training.learning_rate"], group, runs, out, 6)
    assert (why in report.unjudged) is bool(why or not report.unjudged)
    assert bool(report.claims) is not bool(why)
    assert (out / "claims.json").exists() is not bool(why)
    assert not (out / "table1.md").exists()
    assert ("sentences are not judged" in (out / "effects.md").read_text()) is bool(why)
    assert why_not_judged("size", []) == "no run has ended"


def test_hostile_values_stay_text(tmp_path):
    runs = swept(tmp_path / "r", "sampling.prompt", {HOSTILE: [5], "b": [6]}, model=HOSTILE)
    write_sweep(["sampling.prompt", "model"], None, runs, tmp_path / "out", 2)
    for path in (tmp_path / "out").rglob("*.*"):
        if path.suffix in (".svg", ".csv", ".md"):
            text = path.read_text(encoding="utf-8")
            assert "\x1b" not in text, path
            assert "\u202e" not in text, path
    assert "<script>" not in (tmp_path / "out" / "figures" / "curves.svg").read_text()
