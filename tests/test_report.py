"""Pictures and pages: what they show, and that nothing in a text or name gets out of them."""

import math

import pytest

from collapse_lm._util.printable import one_line, printable
from collapse_lm.experiment.batch import Text
from collapse_lm.measures import Row
from collapse_lm.report.losses import draw_losses
from collapse_lm.report.samples import samples_page
from collapse_lm.rundir import SampleRow
from collapse_lm.rundir.rows import parse_row, row_line

HOSTILE = "\x1b[2Jgone\x07 <script>alert(1)</script> ```` \u202eabc $x^2$ \udc80 [a](javascript:b)"


def rows(updates, loss=lambda u: 2 / (u + 1)):
    base = Row(0, {"validation.loss[sotu]": 3.0})
    return [base, *(Row(u, numbers(u, loss(u))) for u in range(1, updates + 1))]


def numbers(update, loss):
    return {
        "train.loss": loss,
        "probe.entropy": 1.0,
        "text.loop_share": 0.1,
        "text.seq_rep_4": 0.2,
        "validation.loss[sotu]": 3 + update / 10,
    }


def manifest(name="smollm2-135m"):
    return {"model": {"reference": name}, "seed": 3}


def summary(update=None):
    return {"collapse_update": update, "reason": "collapse: loop_share for 5 updates in a row"}


def samples(updates, text="some text"):
    return [SampleRow(u, (Text((0,), (1,), "own", f"{text} {u}"),)) for u in range(1, updates + 1)]


def test_the_figure_marks_the_collapse_and_names_the_axes(all_formats, tmp_path):
    draw_losses(rows(9), summary(4), manifest(), tmp_path)
    svg = (tmp_path / "losses.svg").read_text()
    for words in ("collapse, update 4", "validation loss", "train loss on own samples", "updates"):
        assert f"<!-- {words}" in svg
    assert (tmp_path / "losses.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "losses.pdf").read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize("data", [rows(0), rows(1), rows(3, lambda u: math.nan), []])
def test_a_figure_is_drawn_whatever_there_is(data, all_formats, tmp_path):
    draw_losses(data, None, manifest(), tmp_path)
    assert (tmp_path / "losses.png").stat().st_size > 1000


def test_a_hostile_name_is_plain_text_in_the_figure(tmp_path):
    draw_losses(rows(2), summary(), manifest(HOSTILE), tmp_path)
    svg = (tmp_path / "losses.svg").read_text()
    assert "<script>" not in svg
    assert "\x1b" not in svg


@pytest.mark.parametrize(
    ("updates", "shown"),
    [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (10, [1, 4, 7, 10]), (134, [1, 45, 89, 134])],
)
def test_the_page_shows_the_first_a_third_two_thirds_and_the_last(updates, shown):
    page = samples_page(samples(updates), rows(updates), summary(), manifest())
    found = [int(line.split()[2]) for line in page.splitlines() if line.startswith("## Update")]
    assert found == shown


def test_a_hostile_sample_stays_inside_its_fence():
    page = samples_page(samples(1, HOSTILE), rows(1), summary(), manifest(HOSTILE))
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "`````text" in page  # longer than the longest run of backticks in the sample
    page.encode("utf-8")


def test_printable_neutralises_what_moves_a_cursor_or_hides():
    shown = printable("a\x1b[31m\r\n\x00\u202e\ud800\u200bé🦊")
    assert shown == "a\\x1b[31m\\r\\n\\x00\\u202e\\ud800\\u200bé🦊"
    assert printable("a\nb", keep_newlines=True) == "a\nb"


def test_one_line_fits_its_width():
    assert one_line("a\n  b\tc", 80) == "a b\\tc"
    assert len(one_line("word " * 100, 40)) == 40


def test_the_page_shows_the_probe_where_it_was_drawn_apart():
    learned, drawn = (Text((0,), (1,), "own", words) for words in ("from a book", "by the model"))
    page = samples_page([SampleRow(1, (learned,), (drawn,))], rows(1), summary(), manifest())
    assert "by the model" in page
    assert "from a book" not in page


def test_what_json_lacks_is_null_and_named_and_read_back():
    row = Row(3, {"a.x": math.nan, "b.y": math.inf, "c.z": -math.inf, "d": 1.0, "e": 2})
    line = row_line(row)
    assert line == (
        '{"update": 3, "a.x": null, "b.y": null, "c.z": null, "d": 1.0, "e": 2, '
        '"nonfinite": {"a.x": "nan", "b.y": "inf", "c.z": "-inf"}}'
    )
    again = parse_row("a line", line)
    assert math.isnan(again.values["a.x"])
    assert [again.values[name] for name in ("b.y", "c.z", "d", "e")] == [
        *(math.inf, -math.inf, 1.0, 2),
    ]
    assert row_line(again) == line
