"""The live panel of a run: small curves of its losses, in whatever room a terminal has."""

import io
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from run_dirs import HOSTILE, write_run

from collapse_lm.config.sections import CollapseRule
from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.names import Row
from collapse_lm.observers.base import RunFacts
from collapse_lm.observers.curve import Curve, braille
from collapse_lm.observers.display import LivePanel, PlainLines

BRAILLE = range(0x2800, 0x2900)
SETTINGS = SimpleNamespace(
    run=SimpleNamespace(max_updates=100), model="tiny", seed=0, collapse=CollapseRule()
)


def record(update, text="some text", corpora=("sotu",)):
    values = {f"validation.loss[{name}]": 3 + update / 40 for name in corpora}
    if update:
        values |= {"train.loss": 3 * math.exp(-update / 9), "text.loop_share": 0.5}
        values |= {"seconds.sample": 1.25, "seconds.train": 0.5}
    return Record(Row(update, values), Batch((Text((0,), (1,) * 50, "own", text),)))


def panel(width, height, updates=30, facts=None, **options):
    """The lines that the panel shows after so many updates."""
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    shown = LivePanel(live := Live(console=console, auto_refresh=False))
    shown.start(facts or RunFacts(None, SETTINGS, {}, 0))
    for update in range(updates):
        shown.update(record(update, **options))
    console.print(live.get_renderable())
    return console.file.getvalue().splitlines()


def has_curve(lines):
    """True for a line with many of these characters; the spinner is one of them."""
    return any(sum(ord(cell) in BRAILLE for cell in line) > 5 for line in lines)


# --- curves ------------------------------------------------------------------------------------


def test_a_line_goes_from_one_corner_to_the_other():
    assert braille([(0, 0), (1, 1)], 2, 1) == ["⡠⠊"]
    assert braille([(0, 1), (1, 0)], 2, 1) == ["⠑⢄"]


def test_a_step_is_connected():
    assert braille([(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0)], 2, 1) == ["⣀⠏"]


@pytest.mark.parametrize("points", [[], [(3, 1.0)], [(0, 1.0), (5, 1.0)]])
def test_few_points_and_a_constant_are_drawn_too(points):
    lines = braille(points, 5, 3)
    assert [len(line) for line in lines] == [5, 5, 5]
    assert any(cell != "\u2800" for line in lines for cell in line) == bool(points)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40),
    st.integers(1, 30),
    st.integers(1, 4),
)
def test_any_numbers_make_a_drawing_of_the_size_asked_for(values, width, height):
    curve = Curve()
    for update, value in enumerate(values):
        curve.add(update, value)
    lines = braille(curve.points, width, height)
    assert [len(line) for line in lines] == [width] * height
    assert all(ord(cell) in BRAILLE for line in lines for cell in line)


def test_a_long_run_is_kept_in_a_fixed_size_with_its_first_and_newest_value():
    curve = Curve()
    for update in range(100_000):
        curve.add(update, update / 10)
    points = curve.points
    assert len(points) <= 1025
    assert (curve.first, curve.last) == (0, 9999.9)
    assert points == sorted(points)
    assert all(y == pytest.approx(x / 10) for x, y in points)


def test_of_a_corpus_in_a_file_the_name_alone_is_shown_where_there_is_little_room():
    lines = panel(100, 40, corpora=("text:/a/long/way/to/the/folder/of/a/corpus/prose.txt",))
    assert any("prose.txt 3.725" in line and "<" in line for line in lines)
    assert any("prose.txt validation 3.000" in line for line in lines)


# --- the panel ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140, 200])
@pytest.mark.parametrize("height", [10, 16, 24, 50])
def test_the_panel_fits_every_terminal(width, height):
    lines = panel(width, height, corpora=("sotu", "wikitext2"))
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) <= height
    assert any("│ 29 " in line for line in lines)  # the newest update is always there


def test_curves_stand_below_the_table_at_80_columns_and_beside_it_on_a_wide_terminal():
    narrow, wide = panel(80, 40), panel(140, 40)
    assert any("train 2.685 → 0.120" in line and "sotu validation 3" in line for line in narrow)
    below = next(place for place, line in enumerate(narrow) if "sotu validation" in line)
    assert below > next(place for place, line in enumerate(narrow) if "│ 29 " in line)
    assert any("│ 18 " in line and has_curve([line]) for line in wide)
    assert len(wide) < len(narrow)


@pytest.mark.parametrize(("width", "height"), [(40, 40), (80, 14)])
def test_a_small_terminal_gets_the_table_alone(width, height):
    lines = panel(width, height)
    assert not has_curve(lines)
    assert any("train" in line and "validation" in line for line in lines)


def test_nothing_is_drawn_before_there_are_two_points():
    assert not has_curve(panel(80, 40, updates=1))
    assert has_curve(panel(80, 40, updates=2))


def test_a_run_that_goes_on_shows_what_it_did_before(tmp_path):
    reader = write_run(tmp_path / "r", collapse=None, updates=8)
    lines = panel(80, 40, updates=1, facts=RunFacts(reader.path, SETTINGS, {}, 8))
    assert any("train 3.000 → 3.000" in line for line in lines)
    (tmp_path / "r" / "updates.jsonl").write_text("no rows\n")
    assert not has_curve(panel(80, 40, 1, facts=RunFacts(reader.path, SETTINGS, {}, 8)))


def test_states_are_shown_with_the_update_since_when():
    assert any("state: none" in line for line in panel(80, 24, updates=5))
    assert any("state: loop since 1 " in line for line in panel(80, 24, updates=6))
    drifted = panel(80, 24, updates=26)  # from update 21 on the loss is up by more than .5
    assert any("state: drift since 21, loop since 1 " in line for line in drifted)
    assert any("state: drift si" in line for line in panel(24, 24, updates=26))


def test_lines_tell_the_states_too_also_those_from_before_a_resume(tmp_path):
    reader = write_run(tmp_path / "r", collapse=1, updates=8)
    console = Console(file=io.StringIO())
    shown = PlainLines(console)
    shown.start(RunFacts(reader.path, SETTINGS, {}, 8))
    shown.update(record(9))
    shown.start(RunFacts(tmp_path / "nothing", SETTINGS, {}, 0))
    shown.update(record(1))
    before, fresh = console.file.getvalue().splitlines()
    assert "state: " in before
    assert "loop since 1" in before
    assert "state" not in fresh


def test_the_text_of_a_sample_moves_no_cursor():
    shown = "\n".join(panel(80, 40, text=HOSTILE))
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
