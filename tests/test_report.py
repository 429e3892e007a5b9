"""Pictures and pages: what they show, and that nothing in a text or name gets out of them."""

import math

import pytest

from collapse_lm._util.printable import one_line, printable
from collapse_lm.report.losses import draw_losses
from collapse_lm.report.samples import samples_page
from collapse_lm.rundir.rows import to_json

HOSTILE = "\x1b[2Jgone\x07 <script>alert(1)</script> ```` \u202eabc $x^2$ \udc80 [a](javascript:b)"


def rows(updates, loss=lambda u: 2 / (u + 1)):
    base = {"update": 0, "train_loss": None, "validation": {"sotu": {"loss": 3.0}}}
    text = {"loop_share": 0.1, "seq_rep_4": 0.2}
    later = [
        {
            "update": u,
            "train_loss": loss(u),
            "validation": {"sotu": {"loss": 3 + u / 10}},
            "text": text,
            "entropy": 1.0,
        }
        for u in range(1, updates + 1)
    ]
    return [base, *later]


def manifest(name="smollm2-135m"):
    return {"model": {"reference": name}, "seed": 3}


def summary(update=None):
    return {"collapse_update": update, "reason": "collapse: loop_share for 5 updates in a row"}


def samples(updates, text="some text"):
    return [{"update": u, "text": [f"{text} {u}"]} for u in range(1, updates + 1)]


def test_the_figure_marks_the_collapse_and_names_the_axes(tmp_path):
    draw_losses(rows(9), summary(4), manifest(), tmp_path)
    svg = (tmp_path / "losses.svg").read_text()
    for words in ("collapse, update 4", "validation loss", "train loss on own samples", "updates"):
        assert f"<!-- {words}" in svg
    assert (tmp_path / "losses.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "losses.pdf").read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize("data", [rows(0), rows(1), rows(3, lambda u: None), []])
def test_a_figure_is_drawn_whatever_there_is(data, tmp_path):
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


def test_what_json_lacks_is_null_and_named():
    row = {"a": math.nan, "b": {"c": math.inf, "d": 1.0}, "e": None}
    assert to_json(row) == (
        '{"a": null, "b": {"c": null, "d": 1.0}, "e": null, "nonfinite": ["a", "b.c"]}'
    )
