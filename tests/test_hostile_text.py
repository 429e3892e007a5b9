"""What a model writes and what things are called stays text, in files and on a terminal."""

import logging
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast as FastTokenizer

from collapse_lm.cli.main import main

from hostile import ESCAPES, MARKUP, call, plain, quiet, save_model, sets


@pytest.fixture(scope="module")
def hostile_model(tmp_path_factory):
    """A model in whose vocabulary is nothing but escapes and markup, with a name to match."""
    words = [*ESCAPES, *MARKUP, "<s>", "x"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="x"))
    core.decoder = decoders.Fuse()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = FastTokenizer(tokenizer_object=core, bos_token="<s>", eos_token="<s>")
    name = "<script>alert(1)<\u2044script>\x1b[31m"
    return save_model(tokenizer, tmp_path_factory.mktemp("hostile") / name)


@pytest.fixture(scope="module")
def hostile_settings(hostile_model, tmp_path_factory):
    text = tmp_path_factory.mktemp("corpus") / "\x1b[31mtext\u202e.txt"
    text.write_text("x x x x")
    return sets(
        [
            f"model={hostile_model}",
            "precision=float32",
            f'evaluation.corpora=["{"text:" + str(text)}"]'.encode("unicode_escape").decode(),
            "evaluation.context=8",
            "sampling.max_new_tokens=60",
            "run.max_updates=2",
        ]
    )


def unfenced(page):
    """Lines of a Markdown page outside of fences."""
    fence, rest = None, []
    for line in page.split("\n"):
        if fence is None and (opened := re.match(r"`{3,}", line)):
            fence = opened.group()
        elif fence is not None:
            fence = None if re.fullmatch(rf"{fence}`* *", line) else fence
        else:
            rest.append(line)
    assert fence is None
    return "\n".join(rest)


def test_what_a_model_writes_stays_text(hostile_model, hostile_settings, tmp_path):
    said = quiet("sample", hostile_model, "--set", "sampling.max_new_tokens=60")
    assert said.code == 0
    assert "\\x1b]0;owned\\x07" in said.out
    out = tmp_path / "run\x1b[2J\u202e"
    shown = quiet("run", "quickstart", "--out", out, *hostile_settings)
    assert shown.code == 0, shown
    assert "run\\x1b[2J\\u202e" in shown.out
    page = (out / "samples.md").read_text()
    assert plain(page)
    assert "<script>" in page
    outside = re.sub(r"`[^`\n]*`", "", unfenced(page))
    assert not any(word.strip() in outside for word in MARKUP)
    listed = quiet("ls", tmp_path)
    assert "\\x1b[2J" in listed.out
    assert quiet("ls", tmp_path, "--json").code == 0
    assert quiet("resume", out, "--set", "run.max_updates=3").code == 0


def test_names_in_a_figure_are_plain_text(hostile_settings, tmp_path):
    assert quiet("run", "quickstart", "--out", tmp_path / "r", *hostile_settings).code == 0
    svg = (tmp_path / "r" / "figures" / "losses.svg").read_text()
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert "script" not in tags
    assert plain(svg.replace("\t", " "))
    assert "alert(1)" in svg


def test_the_live_panel_shows_no_escape_of_a_model(hostile_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    shown = call("run", "quickstart", "--out", tmp_path / "r", *hostile_settings)
    assert shown.code == 0
    assert "\x1b[" in shown.out  # the panel's own
    # A carriage return is the panel's own too: it draws itself anew.
    assert not any(escape in shown.out for escape in ESCAPES if escape != "\r")
    assert "\\x1b" in shown.out


def test_errors_and_notices_name_hostile_things_in_plain_text(tmp_path):
    name = "<b>\x1b[31m\u202e\x9b"
    for words in (
        ("sample", tmp_path / name),
        ("run", tmp_path / name),
        ("run", "quickstart", "--out", tmp_path, "--set", f"model={name}", "--set", f"{name}=1"),
        ("eval", "./" + name, "--corpus", f"text:{name}"),
        ("resume", tmp_path / name),
        ("ls", tmp_path / name),
        ("config", name),
        (name,),
        ("sample", f"--{name}"),
        ("sample", "x", "--update", name),
    ):
        assert quiet(*words).code == 2


def test_a_notice_of_a_library_is_made_plain(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["collapse-lm", "--version"])
    factory = logging.getLogRecordFactory()
    with pytest.raises(SystemExit):
        main()
    try:
        record = logging.getLogRecordFactory()("n", 30, "p", 1, "a %s", ("\x1b[31m",), None)
    finally:
        logging.setLogRecordFactory(factory)
    assert record.getMessage() == "a \\x1b[31m"


def test_a_terminal_that_lacks_a_character_gets_an_escape():
    words = sets(["sampling.prompt=caf\xe9 \u2026"])
    done = subprocess.run(
        [sys.executable, "-m", "collapse_lm", "config", "show", "quickstart", *words],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert b"caf\\xe9 \\u2026" in done.stdout
