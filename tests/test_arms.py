"""Arms of a sweep: their names, how they ended, and the figures that show them side by side."""

import csv
import io
from dataclasses import replace

import pytest
from run_dirs import sweep, write_run

from collapse_lm.analysis.arms import arms_of, short_arms
from collapse_lm.analysis.outcomes import measure_runs
from collapse_lm.analysis.profiles import common_ending, ending_of, shares_of
from collapse_lm.analysis.sizes import (
    effects_of_size,
    line_over_sizes,
    middle_amount,
    model_lines,
    times_under,
)
from collapse_lm.measures.names import Row
from collapse_lm.report.arms_figure import panels_of
from collapse_lm.report.endings_figure import draw_endings
from collapse_lm.report.figure_data import phase_csv, rates_csv
from collapse_lm.report.law_page import size_tables
from collapse_lm.report.onset_figures import apart
from collapse_lm.report.phase_figure import cells_of, phase_figure
from collapse_lm.report.rates_figure import draw_rates
from collapse_lm.report.style import NotDrawnError, line_legend, new_figure, shown_each, signs
from collapse_lm.report.sweep_figures import sweep_figures
from collapse_lm.rundir.rows import row_line

SOURCE, RATE, OPTIMIZER = "source.kind", "training.learning_rate", "training.optimizer.kind"
TEMPERATURE, TOP_K = "sampling.temperature", "sampling.top_k"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def labels(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip()[5:-4] for line in lines if line.strip().startswith("<!-- ")]


def measured(folder, arms, seeds=2, **options):
    """Runs of arms given as overrides, one per seed."""
    readers = [
        write_run(
            folder / f"{place}-{seed}",
            seed=seed,
            **{"updates": 20, "stop": False} | options,
            overrides=[f"{key}={value}" for key, value in arm.items()],
        )
        for place, arm in enumerate(arms)
        for seed in range(seeds)
    ]
    return measure_runs(readers)[0]


# --- names -------------------------------------------------------------------------------------


def test_an_arm_is_told_by_its_source_and_by_what_sets_it_apart(tmp_path):
    arms = [
        {SOURCE: "own"},
        {SOURCE: "frozen"},
        {SOURCE: "real", "source.corpus": "sotu-train", "source.order": "stream"},
        {SOURCE: "shuffled"},
        {SOURCE: "own", RATE: 0},
        {SOURCE: "own", OPTIMIZER: "random"},
    ]
    runs = measured(tmp_path, arms, updates=2)
    keys = [SOURCE, "source.order", RATE, OPTIMIZER, "run.max_updates"]
    found = arms_of(keys, runs)
    assert list(found) == [
        *("own", "own, learning rate 0", "own, optimizer random"),
        *("frozen", "shuffled", "real, stream"),
    ]
    assert [len(runs) for runs in found.values()] == [2] * 6


def test_where_no_value_is_usual_each_is_told(tmp_path):
    arms = [{TEMPERATURE: t, TOP_K: k} for t in (0.8, 1.2) for k in (500, "null")]
    found = arms_of([TEMPERATURE, TOP_K], measured(tmp_path, arms, seeds=1, updates=2))
    assert set(found) == {
        *("temperature 0.8, top k 500", "temperature 0.8, no top k"),
        *("temperature 1.2, top k 500", "temperature 1.2, no top k"),
    }


def test_arms_that_differ_in_their_length_only_are_one(tmp_path):
    arms = [{"run.max_updates": n} for n in (5, 9)]
    runs = measured(tmp_path, arms, updates=2)
    assert {name: len(found) for name, found in arms_of(["run.max_updates"], runs).items()} == {
        "all runs": 4
    }


# --- endings -----------------------------------------------------------------------------------


def noisy(reader, start, high=9.0):
    """Give a run an entropy far above the base model's from an update on."""
    rows = [
        Row(row.update, {**row.values, **({"probe.entropy": high} if row.update >= start else {})})
        for row in reader.updates()
    ]
    (reader.path / "updates.jsonl").write_text("".join(f"{row_line(row)}\n" for row in rows))
    return reader


def steep(update, corpus):
    return 3 + update / 10  # drift, more than half a nat, from update 6 on


def test_a_profile_counts_runs_and_tells_when(tmp_path):
    readers = [
        write_run(tmp_path / "a", collapse=11, updates=30, stop=False, validation=steep),
        noisy(write_run(tmp_path / "b", updates=30, validation=steep), 15),
        write_run(tmp_path / "c", updates=30, validation=lambda *_: 3.0),
    ]
    runs = measure_runs(readers)[0]
    assert [ending_of(run) for run in runs] == ["loop", "noise", "none"]
    shares = {share.state: share for share in shares_of(runs)}
    assert (shares["drift"].entered, shares["drift"].first) == (2, 6)
    assert (shares["loop"].entered, shares["loop"].first, shares["loop"].updates) == (1, 11, 20)
    assert (shares["noise"].entered, shares["noise"].earliest, shares["noise"].left) == (1, 15, 0)
    assert shares["shrink"].first is None
    assert common_ending([runs[1], runs[2], runs[2]]) == ("none", 2)
    assert common_ending(runs) == ("loop", 1)


def test_the_chart_of_endings_says_it_in_words(tmp_path):
    looped = [write_run(tmp_path / f"{s}", collapse=9 + 2 * s, updates=30, seed=s) for s in (0, 1)]
    runs = measure_runs(looped)[0]
    caption = draw_endings({"own text": runs, "other": runs[:1]}, "arm", tmp_path, "endings", 3.25)
    found = labels(tmp_path / "endings.svg")
    assert {"own text", "other", "drift", "loop", "shrink"} <= set(found)
    assert {"2/2: 10", "1/1: 9"} <= set(found)  # medians of 9 and 11, and of 9
    assert "noise: drift" in caption
    many = {str(n): runs for n in range(41)}
    with pytest.raises(NotDrawnError, match="41"):
        draw_endings(many, "arm", tmp_path, "many")


# --- figures of a sweep ------------------------------------------------------------------------


def test_sources_have_one_figure_with_a_panel_for_each_number(tmp_path):
    runs = measured(tmp_path / "s", [{SOURCE: "own"}, {SOURCE: "frozen"}])
    assert [panel.title for panel in panels_of(runs)] == [
        *("change of validation loss", "entropy of probes"),  # no row has an overlap
    ]
    figures = sweep_figures([SOURCE], None, runs, runs)
    assert {"arms", "endings"} <= set(figures)
    assert "dose" not in figures
    caption = figures["arms"].draw(tmp_path, "arms", 5.5)
    assert "against updates" in caption
    assert "Validation on sotu" in caption
    assert {"updates", "own", "frozen", "nats per token"} <= set(labels(tmp_path / "arms.svg"))
    rows = rows_of(figures["arms"].data())
    change = [
        r for r in rows if r["name"].startswith("change of validation") and r["run"] == "mean"
    ]
    assert {(r["level"], r["update"]) for r in change} >= {("own", "0.0"), ("frozen", "20.0")}
    assert float(change[20]["value"]) == pytest.approx(0.2)  # 3 + u / 100, less the base model's 3


def test_rates_lie_over_one_another_by_dose(tmp_path):
    rates = {1e-4: [None, None], 4e-4: [None, None], 0.0: [None, None]}

    def by_dose(rate):
        return lambda update, corpus: 3 + 100 * rate * update

    runs = []
    for rate in rates:
        readers = sweep(tmp_path / str(rate), {rate: rates[rate]}, validation=by_dose(rate))
        runs += measure_runs(readers, tmp_path)[0]
    figures = sweep_figures([RATE], "learning rate", runs, runs)
    rows = rows_of(figures["dose"].data())
    assert {row["level"] for row in rows} == {"1e-4", "4e-4"}  # a rate of 0 gives no dose
    change = [r for r in rows if r["name"].startswith("change") and r["run"] == "mean"]
    assert all(
        float(row["value"]) == pytest.approx(100 * float(row["dose"]), abs=1e-9) for row in change
    )
    assert max(float(row["dose"]) for row in change) == pytest.approx(30 * 4e-4)


def test_many_arms_are_parted_by_a_key_or_not_drawn(tmp_path):
    arms = [
        {OPTIMIZER: optimizer, TEMPERATURE: t / 10}
        for optimizer in ("adamw", "sgd")
        for t in range(8, 16)
    ]
    runs = measured(tmp_path / "s", arms, seeds=1, updates=1)
    figures = sweep_figures([OPTIMIZER, TEMPERATURE], None, runs, runs)
    assert {"arms-1", "arms-2", "endings"} <= set(figures)
    assert len({row["level"] for row in rows_of(figures["arms-1"].data())}) == 8
    more = [{SOURCE: "own", TEMPERATURE: t / 10} for t in range(8, 23)]
    one = [*measured(tmp_path / "t", more, seeds=1, updates=1), *runs[:1]]
    kinds = sweep_figures([OPTIMIZER, TEMPERATURE, SOURCE], None, [*one, *runs], runs)
    with pytest.raises(NotDrawnError, match="arms"):
        kinds["arms"].draw(tmp_path, "arms", 5.5)


def test_signs_differ_where_colours_are_not_seen():
    assert len(set(signs(7))) == 7


# --- the phase diagram -------------------------------------------------------------------------


def test_a_cell_without_a_loop_tells_what_became_of_the_model(tmp_path):
    readers = [
        noisy(write_run(tmp_path / f"hot{s}", temperature=1.2, seed=s, validation=steep), 9)
        for s in range(2)
    ]
    readers += [
        write_run(tmp_path / f"cold{s}", temperature=0.8, seed=s, collapse=8, validation=steep)
        for s in range(2)
    ]
    runs = measure_runs(readers)[0]
    cells = cells_of(runs)
    hot, cold = cells[200, 1.2, 1e-4], cells[200, 0.8, 1e-4]
    assert (hot.is_open, hot.ending_words, hot.change) == (True, "noise", pytest.approx(3))
    assert (cold.is_open, cold.ending_words, cold.change) == (False, "loop", pytest.approx(1.2))
    caption = phase_figure(runs, tmp_path)
    assert "Lower maps" in caption
    found = labels(tmp_path / "phase.svg")
    assert {"&gt;30", "noise", "+3.00", "8", "+1.20"} <= set(found)
    rows = rows_of(phase_csv(runs))
    assert [(row["ending"], row["ended_so"]) for row in rows] == [("loop", "2"), ("noise", "2")]


def test_names_that_are_too_long_leave_out_keys_that_go_with_another(tmp_path):
    clips, sizes = "training.grad_clip", "sampling.batch_size"
    plain = {OPTIMIZER: "adamw", RATE: 1e-4, TEMPERATURE: 0.8}
    other = {OPTIMIZER: "sgd", RATE: 0.1, TEMPERATURE: 1.0}
    arms = [{**one, sizes: n} for one in (plain, other) for n in (1, 4)]
    runs, keys = measured(tmp_path, arms, seeds=1, updates=2), [*plain, sizes]
    short, told = short_arms(keys, runs, 40)
    assert list(short) == [
        *("optimizer adamw, batch size 1", "optimizer adamw, batch size 4"),
        *("optimizer sgd, batch size 1", "optimizer sgd, batch size 4"),
    ]
    whole = "optimizer adamw, learning rate 1e-4, temperature 0.8, batch size 1"
    assert told == (
        "optimizer adamw with learning rate 1e-4, temperature 0.8; "
        "optimizer sgd with learning rate 0.1, temperature 1"
    )
    assert next(iter(arms_of(keys, runs))) == whole
    assert short_arms(keys, runs, 90) == (arms_of(keys, runs), "")
    figures = sweep_figures([*keys, clips], None, runs, runs)
    caption = figures["arms"].draw(tmp_path, "arms", 5.5)
    assert "optimizer sgd, batch size 4" in labels(tmp_path / "arms.svg")
    assert caption.endswith(f"Not in the names: {told}.")
    assert {row["level"] for row in rows_of(figures["arms"].data())} == set(arms_of(keys, runs))


def test_the_source_is_never_left_out_of_a_name_and_names_stay_unique(tmp_path):
    real = {SOURCE: "real", "source.corpus": "sotu-train"}
    arms = [
        {**one, TEMPERATURE: temperature, TOP_K: k}
        for one in ({SOURCE: "own"}, real)
        for temperature, k in ((0.8, 500), (1.0, 100))
    ]
    keys = ["source.corpus", SOURCE, TEMPERATURE, TOP_K]
    runs = measured(tmp_path / "runs", arms, seeds=1, updates=2)
    short, told = short_arms(keys, runs, 10)
    assert [name.split(",")[0] for name in short] == ["own", "own", "sotu-train", "sotu-train"]
    assert told == "temperature 0.8 with top k 500; temperature 1 with top k 100"
    alike = [{RATE: rate, TEMPERATURE: t} for rate, t in ((1e-4, 0.8), (2e-4, 1.0), (3e-4, 1.2))]
    runs = measured(tmp_path / "alike", [alike[0]] * 6 + alike[1:], seeds=1, updates=2)
    assert len(short_arms([RATE, TEMPERATURE], runs, 5)[0]) == 3


def test_names_that_no_figure_has_room_for_are_in_its_caption(tmp_path):
    runs = measured(tmp_path, [{RATE: rate} for rate in (1e-4, 2e-4)], seeds=1, updates=2)
    names = [f"an arm of which a good deal is told, and no end of it: {n}" for n in "ab"]
    levels = dict(zip(names, ([run] for run in runs), strict=True))
    caption = draw_endings(levels, "arm", tmp_path, "wide")
    assert "In full" not in caption
    assert {"an arm of which a good deal is", "told, and no end of it: a"} <= set(
        labels(tmp_path / "wide.svg")
    )
    caption = draw_endings(levels, "arm", tmp_path, "narrow", 3.25)
    short = [f"…deal is told, and no end of it: {n}" for n in "ab"]
    assert caption.endswith(f" In full: {short[0]} = {names[0]}; {short[1]} = {names[1]}.")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["short", "a name longer than this"], ["short", "a name longer…"]),
        (["same beginning, 1", "same beginning, 2"], ["… beginning, 1", "… beginning, 2"]),
        (["same beginning, 1", "2"], ["same beginnin…", "2"]),
        (
            ["it is the same, 1, up to the last", "it is the same, 2, up to the last"],
            ["1: it is the …", "2: it is the …"],
        ),
        (["\x07" * 9, "\x07" * 9], ["1: \\x07\\x07\\x…", "2: \\x07\\x07\\x…"]),
    ],
)
def test_names_in_a_legend_are_never_cut_to_the_same(names, expected):
    assert shown_each(names, 14) == expected


def test_a_figure_grows_with_a_legend_of_many_rows():
    heights = []
    for count in (2, 3, 8):
        figure = new_figure(5.5, 2.5)
        line_legend(figure, [f"{'a long name ' * 4}{n}" for n in range(count)], "arm")
        heights.append(figure.get_figheight())
    assert heights[0] == heights[1] == 2.5
    assert heights[2] == pytest.approx(2.5 + 5 * 0.15)


@pytest.mark.parametrize(
    ("numbers", "kept"),
    [
        ([5], [5]),
        ([5, 5], [5]),
        ([124, 125], [124]),
        ([1, 10, 11, 100], [1, 10, 100]),
        ([1, 10, 90, 100], [1, 10, 100]),
    ],
)
def test_labels_on_a_logarithmic_axis_do_not_touch(numbers, kept):
    assert apart(numbers, 100) == kept


# --- sizes ------------------------------------------------------------------------------------

SIZES = ((32, 165_000), (128, 1_350_000))


def of_sizes(folder, *, sizes=SIZES, blocks=(0, 1), rates=(1, 4), leave_out=(), **options):
    """Runs of models at rates in 1e-5; time goes as 1 / (parameters^.4 rate)."""
    readers = [
        write_run(
            folder / f"{width}-{block}-{rate}",
            collapse=round(60_000 / parameters**0.4 / rate) + block,
            rate=rate * 1e-5,
            model=f"ladder:{width}x2@{block}",
            parameters=parameters,
            **options,
        )
        for width, parameters in sizes
        for block in blocks
        for rate in rates
        if (width, block) not in leave_out
    ]
    return measure_runs(readers)[0]


def never(runs, width):
    """The same runs, but for those of a width, which end after 10 updates without a loop."""
    return [
        replace(run, outcome=replace(run.outcome, time=10, collapse_update=None))
        if f":{width}x" in run.outcome.model
        else run
        for run in runs
    ]


def test_time_by_rate_and_by_size_is_drawn_where_models_and_rates_vary(tmp_path):
    runs = of_sizes(tmp_path / "runs")
    figures = sweep_figures(["model", RATE], None, runs, runs)
    caption = figures["rates"].draw(tmp_path, "rates", 5.5)
    assert "8 runs of 4 pretrained models" in caption
    assert "a width of 64 the rate 2e-5" in caption
    assert "have none" not in caption
    assert {"165k", "1.35M", "one rate", "width^-1/2", "1 / width"} <= set(
        labels(tmp_path / "rates.svg")
    )
    assert "rates" not in sweep_figures([RATE], None, runs, runs)


def test_a_size_that_never_loops_has_its_marks_and_no_line(tmp_path):
    runs = of_sizes(tmp_path / "runs", sizes=(*SIZES, (64, 429_000)))
    caption = draw_rates(never(runs, 32), tmp_path, "rates")
    assert "12 runs of 6 pretrained models" in caption
    assert "its runs; 2 of the models have none)" in caption
    assert "165k" in labels(tmp_path / "rates.svg")
    with pytest.raises(NotDrawnError, match="two sizes that loop at two rates"):
        draw_rates(never(of_sizes(tmp_path / "few"), 32), tmp_path, "rates")


@pytest.mark.parametrize("options", [{"sizes": SIZES[:1]}, {"rates": (1,)}])
def test_one_size_or_one_rate_gives_no_such_figure(tmp_path, options):
    with pytest.raises(NotDrawnError, match="two sizes that loop at two rates"):
        draw_rates(of_sizes(tmp_path / "runs", **options), tmp_path, "rates")


def test_runs_that_tell_no_size_or_do_not_train_leave_that_figure_as_it_is(tmp_path):
    runs = of_sizes(tmp_path / "runs")
    others = [
        write_run(
            tmp_path / "other", collapse=3, rate=1e-2, model="smollm2-135m", parameters=10**8
        ),
        write_run(tmp_path / "none", collapse=3, rate=1e-2, model="ladder:64x3", parameters=None),
        write_run(tmp_path / "hex", collapse=3, rate=1e-2, model="/x/0x2", parameters=10**6),
        write_run(tmp_path / "still", rate=0, model="ladder:32x2@0", parameters=165_000),
    ]
    more = [*runs, *measure_runs(others)[0]]
    assert draw_rates(more, tmp_path, "rates") == draw_rates(runs, tmp_path, "rates")
    assert rates_csv(more) == rates_csv(runs)
    assert size_tables(["model", RATE], more) == size_tables(["model", RATE], runs)


def test_the_numbers_of_that_figure_are_those_of_runs_and_of_the_models_lines(tmp_path):
    rows = rows_of(rates_csv(of_sizes(tmp_path)))
    seen, read = ([row for row in rows if bool(row["run"]) is one] for one in (True, False))
    assert [row["observed"] for row in seen] == ["True"] * 8
    assert (seen[0]["model"], seen[0]["pretraining_seed"]) == ("ladder:128x2@0", "0")
    times = {
        (row["model"], row["width_power"]): (
            float(row["learning_rate"]),
            float(row["time_by_line"]),
        )
        for row in read
    }
    for model, parameters, factors in (
        ("ladder:32x2@0", 165_000, (1, 2**0.5, 2)),
        ("ladder:128x2@0", 1_350_000, (1, 2**-0.5, 1 / 2)),
    ):
        for power, factor in zip(("0.0", "-0.5", "-1.0"), factors, strict=True):
            rate, time = times[model, power]
            assert rate == pytest.approx(2e-5 * factor)  # the middle at a width of 64
            assert time == pytest.approx(60_000 / parameters**0.4 / (2 * factor), rel=0.1)


def test_the_line_over_sizes_is_that_of_the_table_where_a_seed_lacks_a_size(tmp_path):
    runs = of_sizes(tmp_path, blocks=(0, 1, 2), leave_out={(32, 1)})
    models = model_lines(runs)
    through = line_over_sizes(times_under(0.0, models, middle_amount(runs)))
    told = effects_of_size(runs)[0]
    assert told.models == 5
    ratio = through.time(165_000) / through.time(1_350_000)
    assert ratio == pytest.approx(told.ratio)
    assert ratio == pytest.approx((1_350 / 165) ** 0.4, rel=0.1)


def test_the_page_of_such_a_sweep_has_a_row_per_rule(tmp_path):
    rules = size_tables(["model", RATE], of_sizes(tmp_path))[1].splitlines()[2:]
    assert [row.split(" | ")[0] for row in rules] == ["| 0", "| -0.5", "| -1"]
