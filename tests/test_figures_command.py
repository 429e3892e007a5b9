"""Figures for a paper: every format at both widths, with the numbers behind them."""

import csv
import io
import json
import re

import pytest
from run_dirs import HOSTILE, sweep, write_run

from collapse_lm.analysis.levels import alike
from collapse_lm.analysis.stats.survival import kaplan_meier
from collapse_lm.report.gallery import write_figures
from collapse_lm.report.onset_figures import _survival_line
from collapse_lm.report.phase_figure import round_limits
from collapse_lm.report.style import new_figure
from collapse_lm.sweeps import SweepFolder, load_sweep

from hostile import call, refused

WIDE, NARROW = 5.5, 3.25


def width_of(svg):
    return float(re.search(r'<svg[^>]* width="([\d.]+)pt"', svg.read_text())[1]) / 72


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def drawn(folder, *words):
    outcome = call("figures", folder, "--style", "paper", *words)
    assert outcome.code == 0, outcome
    return outcome


def test_a_sweep_is_drawn_at_both_widths_with_its_data(all_formats, tmp_path):
    sweep(tmp_path / "s", {2e-5: [26, None], 1.6e-4: [9, 11]})
    drawn(tmp_path / "s", "--out", tmp_path / "out")
    for name in ("curves", "survival"):
        for suffix, width in (("", WIDE), ("-column", NARROW)):
            assert width_of(tmp_path / "out" / f"{name}{suffix}.svg") == pytest.approx(width)
            pdf = (tmp_path / "out" / f"{name}{suffix}.pdf").read_bytes()
            assert b"/FontFile2" in pdf  # embedded, as TrueType
            assert b"/Type3" not in pdf
            assert (tmp_path / "out" / f"{name}{suffix}.png").read_bytes()[:4] == b"\x89PNG"
    rows = rows_of(tmp_path / "out" / "curves.csv")
    losses = [r for r in rows if r["name"] == "validation.loss[sotu]" and r["level"] == "2e-5"]
    assert {row["run"] for row in losses} == {"rate0/seed0", "rate0/seed1", "mean"}
    mean = [row for row in losses if row["run"] == "mean"]
    assert int(mean[-1]["update"]) == 30  # collapse at 26 and patience end the shorter run at 30
    survival = rows_of(tmp_path / "out" / "survival.csv")
    assert survival[0]["collapses"] == "1"
    assert "## curves" in (tmp_path / "out" / "captions.md").read_text()


def test_a_caption_of_a_column_tells_what_it_has_no_room_for(tmp_path):
    for kind, rate, temperature in (("adamw", 1e-4, 0.8), ("sgd", 0.1, 1.0)):
        for batch in (1, 4):
            words = [
                f"training.optimizer.kind={kind}",
                f"training.learning_rate={rate}",
                f"sampling.temperature={temperature}",
                f"sampling.batch_size={batch}",
            ]
            place = tmp_path / "s" / f"{kind}-{batch}"
            write_run(place, updates=20, stop=False, overrides=words)
    drawn(tmp_path / "s", "--out", tmp_path / "out")
    parts = (tmp_path / "out" / "captions.md").read_text().split("\n## ")
    told = {part.partition("\n")[0]: part for part in parts}
    assert "endings-column" not in told  # it has the same caption
    assert "In full" not in told["survival"]
    assert "= batch_size 4, temperature 1, learning_rate 1e-1, kind sgd" in told["survival-column"]
    assert "temperature 1 with learning rate 0.1, optimizer sgd" in told["arms"]


def test_a_sweep_is_drawn_by_its_own_keys_in_their_order(tmp_path):
    keys = {"training.learning_rate": [1e-4, 2e-4], "sampling.temperature": [0.8, 1.2]}
    spec = tmp_path / "spec.yaml"
    spec.write_text(json.dumps({"base": "quickstart", "grid": keys, "seeds": 1}))
    folder = SweepFolder(tmp_path / "s")
    folder.open(load_sweep(str(spec)))
    for run in folder.plan().runs:
        values = [f"{key}={run.values[key]}" for key in keys]
        write_run(folder.run_path(run), updates=20, stop=False, overrides=values)
    drawn(tmp_path / "s", "--out", tmp_path / "out")
    levels = {row["level"] for row in rows_of(tmp_path / "out" / "curves.csv")}
    assert "learning_rate 1e-4, temperature 0.8" in levels  # the configuration has it second


def test_a_band_of_survival_reaches_to_where_the_curve_falls_to_0():
    figure = new_figure(4, 3)
    axes = figure.subplots()
    found = kaplan_meier([4, 9], [True, True])
    _survival_line(axes, found, {"color": "black"})
    (band,) = axes.collections
    x = [place for path in band.get_paths() for place, _ in path.vertices]
    assert max(x) == 9  # the share is one half from 4 on, which is its last step with a band


def test_what_strangers_named_is_no_markup_in_a_caption(tmp_path):
    write_figures({"curves": lambda: "By <script>, [a](b) and `c`."}, tmp_path)
    told = (tmp_path / "captions.md").read_text()
    assert "By \\<script\\>, \\[a\\](b) and \\`c\\`." in told


def test_the_mean_ends_where_the_first_run_of_its_level_ends(tmp_path):
    sweep(tmp_path / "s", {1e-4: [3, 9, 12]})
    drawn(tmp_path / "s")
    rows = rows_of(tmp_path / "s" / "figures" / "paper" / "curves.csv")
    mean = [r for r in rows if r["run"] == "mean" and r["name"] == "train.loss"]
    assert max(int(row["update"]) for row in mean) == 7
    assert len(mean) == 7


def test_a_run_is_drawn_whatever_state_it_is_in(tmp_path):
    write_run(tmp_path / "r", updates=5, status="running", text=HOSTILE)
    drawn(tmp_path / "r", "--out", tmp_path / "out")
    assert {p.stem for p in (tmp_path / "out").glob("*.csv")} == {"losses", "texts"}
    assert width_of(tmp_path / "out" / "losses-column.svg") == pytest.approx(NARROW)
    rows = rows_of(tmp_path / "out" / "losses.csv")
    assert [row["update"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert rows[1]["train.loss"] == "3.0"


def test_a_phase_diagram_is_drawn_in_a_column(tmp_path):
    for temperature in (0.8, 1.2):
        for rate in (1e-4, 3e-4):
            place = tmp_path / "s" / f"{temperature}-{rate}"
            write_run(place, collapse=5, temperature=temperature, rate=rate)
    drawn(tmp_path / "s", "--out", tmp_path / "out")
    assert width_of(tmp_path / "out" / "phase-column.svg") == pytest.approx(NARROW)
    assert len(rows_of(tmp_path / "out" / "phase.csv")) == 4


def test_a_folder_without_runs_is_refused(tmp_path):
    refused("figures", tmp_path, got=str(tmp_path))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1e-5, 1e-3], ["1e-5", "1e-3"]),
        ([0.8, 1.0, 1.25], ["0.80", "1.00", "1.25"]),
        ([1, 10], ["1", "10"]),
        ([0.0, 2e-5], ["0", "2e-5"]),
        ([], []),
    ],
)
def test_numbers_of_an_axis_have_one_form(values, told):
    assert alike(values) == told


@pytest.mark.parametrize(
    ("found", "limits"),
    [((3, 27), (2, 50)), ((7, 7), (5, 10)), ((1, 1), (1, 2)), ((5, 20), (5, 20))],
)
def test_a_colour_bar_is_between_round_numbers_that_differ(found, limits):
    assert round_limits(*found) == limits
