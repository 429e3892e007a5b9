"""Tables of commands: nothing is cut, whether a terminal, a pipe or a file takes them."""

import io
import json
import os
import pty
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from run_dirs import write_run

from collapse_lm._util.fitting import Narrowing, fit
from collapse_lm.cli.tables import Listing, evaluation_table

from commands import command, read_terminal
from hostile import call

LONG = "a-name-that-no-narrow-column-has-room-for-" * 3


def end(run):
    """Write how a run of `write_run` ended."""
    ending = {"status": "finished", "updates": 9, "collapsed": True, "collapse_update": 5}
    ending |= {"reason": "collapse", "validation": {}}
    (run.path / "summary.json").write_text(json.dumps(ending))


@pytest.fixture
def runs(tmp_path):
    end(write_run(tmp_path / LONG, collapse=5, corpora=("sotu", "wikitext2", "ptb")))
    return tmp_path


def on_terminal(width, *words):
    """What a command prints on a terminal of so many columns."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(width)}
    with subprocess.Popen(command(*words), stdout=follower, env=environment):
        os.close(follower)
        shown = read_terminal(leader)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


@pytest.mark.parametrize("columns", ["20", "80"])
def test_a_pipe_gets_every_header_and_number_in_one_line(columns, runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    head, row = call("ls", runs).out.splitlines()
    headers = ["run", "model", "source", "lr", "seed", "status", "updates", "collapse"]
    assert head.split() == [*headers, "validation"]
    assert row.split()[:8] == [LONG, "smollm2-135m", "own", "0.0001", "0", "finished", "9", "5"]
    losses = "sotu 3.000 -> 3.090, wikitext2 3.000 -> 3.090, ptb 4.000 -> 4.090"
    assert row.endswith(losses)


@pytest.mark.parametrize(("words", "entries"), [("corpora", 6), ("models", 5)])
def test_every_list_is_a_line_per_entry_in_a_pipe(words, entries, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = call(words).out.splitlines()
    assert "…" not in "".join(lines)
    assert len(lines) >= 1 + entries
    assert all(not line.startswith(" ") for line in lines)


def test_a_wide_terminal_gets_all_of_it_in_its_width(runs):
    shown = on_terminal(300, "ls", runs)
    assert "…" not in shown
    assert all(len(line) <= 300 for line in shown.splitlines())
    for word in (LONG, "0.0001", "3.000", "4.090"):
        assert word in shown.split()


def test_a_name_is_whole_on_the_narrowest_terminal_and_what_is_not_shown_is_named(runs):
    shared, _, name, told = on_terminal(40, "ls", runs).splitlines()
    assert shared == "lr 0.0001, seed 0, model smollm2-135m, source own"
    assert name == LONG
    assert told == ("not in full: status, updates, collapse, validation (--json for all)")


def test_ls_of_a_sweep_is_a_line_per_run_in_80_columns(tmp_path):
    names = [f"learning_rate=3e-0{rate}-seed{seed}-1a2b3c4d" for rate in range(3) for seed in "01"]
    for place, name in enumerate(names):
        end(write_run(tmp_path / "runs" / name, rate=10**-place, seed=place % 2, collapse=5))
    shared, head, *lines, told = on_terminal(80, "ls", tmp_path).splitlines()
    assert shared == "model smollm2-135m, source own"
    assert head.split() == ["run", "lr", "status", "updates", "collapse"]
    assert [line.split()[0] for line in lines] == [f"runs/{name}" for name in sorted(names)]
    assert all(len(line) <= 80 for line in lines)
    assert "--json for all" in told
    (tmp_path / "runs" / names[0] / "config.yaml").unlink()
    shown = on_terminal(80, "ls", tmp_path)
    assert f"runs/{names[0]}  damaged: FileNotF" in shown


def columns_of(width, keep, rows, **how):
    columns = ("name", *keep)
    return fit(columns, rows, width, Narrowing(keep, **how))


def test_what_fits_is_shown_as_it_is():
    found = columns_of(17, ("a b", "c"), [("x", "1", "long"), ("yyyy", "2", "l")])
    assert (found.shared, found.left_out) == ((), ())
    assert found.head == ("name  a b  c",)
    assert found.lines == ("x     1    long", "yyyy  2    l")


def test_headers_are_folded_before_anything_goes():
    found = columns_of(11, ("long head",), [("x", "1.2"), ("y", "3.4")])
    assert found.head == ("      long", "name  head")
    assert found.left_out == ()


def test_what_all_rows_share_is_told_above_them():
    rows = [("x", "1", "all"), ("y", "1", "all")]
    found = columns_of(10, ("own", "same"), rows, share=("same",))
    assert found.shared == (("same", "all"),)
    assert found.lines == ("x     1", "y     1")
    assert found.left_out == ()
    assert columns_of(10, ("own", "same"), rows).left_out == ("same",)


def test_a_column_without_a_word_goes_first_and_is_not_missed():
    rows = [("x", "", "1"), ("y", "", "2")]
    found = columns_of(9, ("empty", "d"), rows)
    assert (found.head, found.lines) == (("name  d",), ("x     1", "y     2"))
    assert found.left_out == ()


def test_short_forms_come_before_cuts_and_the_least_important_column_goes_first():
    rows = [("x", "a text that is rather long", "3.14, 2.71", "17"), ("y", "b", "1.5", "18")]
    how = {"cut": ("words",), "short": {"numbers": ["3.14 +1", "1.5"]}}
    found = columns_of(47, ("words", "numbers", "rest"), rows, **how)
    assert found.lines[0] == "x     a text that is rather long  3.14 +1  17"
    assert found.left_out == ("numbers",)
    found = columns_of(42, ("words", "numbers", "rest"), rows, **how)
    assert found.lines[0] == "x     a text that is rathe…  3.14 +1  17"
    found = columns_of(35, ("words", "numbers", "rest"), rows, **how)
    assert found.lines[0] == "x     a text that is rath…  3.14 +1"
    assert found.left_out == ("words", "numbers", "rest")
    assert columns_of(4, ("words", "numbers", "rest"), rows, **how).lines == ("x", "y")


@given(
    st.lists(st.lists(st.text("ab 中…", max_size=9), min_size=4, max_size=4), max_size=5),
    st.integers(1, 60),
)
def test_nothing_but_a_name_is_wider_than_the_terminal(rows, width):
    keep = ("b", "two words", "d")
    found = columns_of(width, keep, rows, cut=("b",))
    names = max(map(cell_len, ("name", *(row[0] for row in rows))))
    assert all(cell_len(line) <= max(width, names) for line in (*found.head, *found.lines))
    whole = set(keep) - set(found.left_out) - {name for name, _ in found.shared}
    for row, line in zip(rows, found.lines, strict=True):
        assert line.startswith(row[0].rstrip())
        assert all(row[1 + keep.index(name)].strip() in line for name in whole)


@pytest.mark.parametrize("corpora", [1, 2])
def test_eval_has_a_line_per_corpus_in_80_columns(corpora):
    names = ["sotu", "wikitext2-raw"][:corpora]
    loss = {"loss": 3.2031, "perplexity": 24.609, "bits_per_byte": 1.0123}
    loss |= {"word_perplexity": 123.456, "tokens": 254_123 if corpora == 1 else 2048}
    facts = {"tokens": 254_123, "context": 1024, "stride": 1024, "form": "raw"}
    listing = evaluation_table(
        {
            "corpora": [{"name": name, **facts} for name in names],
            "validation": dict.fromkeys(names, loss),
        }
    )
    found = fit(listing.columns, listing.rows, 80, listing.narrowing)
    assert all(len(line) <= 80 for line in (*found.head, *found.lines))
    for line in found.lines:
        assert all(n in line for n in ("3.2031", "24.609", "1.0123", "123.456", "254,123"))
    assert dict(found.shared) == {"context": "1024", "stride": "1024", "form": "raw"}
    assert found.left_out == ()


def test_the_widest_column_alone_is_folded():
    listing = Listing(("number", "words"), [("3.14159", "one two three four five six seven")])
    console = Console(file=io.StringIO(), width=32)
    console.print(listing.on_terminal(32))
    lines = console.file.getvalue().splitlines()
    assert lines[1].startswith("3.14159  one two three")
    assert len(lines) > 2
    assert Listing(("a", "b"), [("x\ny", "\u4e2d"), ("1", "2")]).lines() == [
        *("a     b", "x; y  \u4e2d", "1     2"),
    ]
