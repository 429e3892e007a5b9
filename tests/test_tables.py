"""Tables of commands: nothing is cut, whether a terminal, a pipe or a file takes them."""

import io
import json
import os
import pty
import re
import subprocess

import pytest
from rich.console import Console
from run_dirs import write_run

from collapse_lm.cli.tables import Listing

from commands import command, read_terminal
from hostile import call

LONG = "a-name-that-no-narrow-column-has-room-for-" * 3


@pytest.fixture
def runs(tmp_path):
    run = write_run(tmp_path / LONG, collapse=5, corpora=("sotu", "wikitext2", "ptb"))
    ending = {"status": "finished", "updates": 9, "collapsed": True, "collapse_update": 5}
    ending |= {"reason": "collapse", "validation": {}}
    (run.path / "summary.json").write_text(json.dumps(ending))
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


@pytest.mark.parametrize("width", [40, 300])
def test_a_terminal_gets_all_of_it_in_its_width(width, runs):
    shown = on_terminal(width, "ls", runs)
    assert "…" not in shown
    assert all(len(line) <= width for line in shown.splitlines())
    assert LONG in re.sub(r"\s", "", shown)
    for number in ("0.0001", "3.000", "4.090"):  # no number is broken in two
        assert number in shown


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
