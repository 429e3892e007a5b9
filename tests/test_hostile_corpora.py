"""Hostile corpora: used or refused, in time and memory in proportion."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast as FastTokenizer

from conftest import PROSE
from hostile import IS_FULL, LINE, quiet, refused, save_model, sets


def refuse_corpus(model, corpus, got):
    return refused("eval", model, "--corpus", f"text:{corpus}", "--context", 64, got=got)


def score(model, corpus, *more):
    return quiet(
        "eval", model, "--corpus", f"text:{corpus}", "--context", 64, "--tokens", 64, *more
    )


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"zero \0 bytes \0\0\0 in between " * 9, None),
        (
            "\u202eright to left\u202c \u2066embedded\u2069 \u05e9\u05dc\u05d5\u05dd ".encode() * 9,
            None,
        ),
        (b"\xef\xbb\xbfa byte order mark", None),
        (b"\x1b[31mred \x1b]0;title\x07", None),
        (b"<|endoftext|><|endoftext|>" * 9, None),
        (b"x", None),
        (b"lone \xed\xa0\x80 surrogate", "byte 5 is not UTF-8"),
        ("text in UTF-16".encode("utf-16"), "byte 0 is not UTF-8"),
        (bytes(range(256)), "byte 128 is not UTF-8"),
        (b"", "an empty file"),
        (b" \n\t\n", "an empty file"),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_a_corpus_is_used_or_refused(content, got, gpt2_dir, tmp_path):
    path = tmp_path / "text\x1b[31m\u202e.txt"
    path.write_bytes(content)
    if got:
        refuse_corpus(gpt2_dir, path, got)
        return
    outcome = score(gpt2_dir, path, "--json")
    assert outcome.code == 0, outcome
    (corpus,) = json.loads(outcome.out, parse_constant=pytest.fail)["corpora"]
    assert corpus["tokens"] == len(content.removeprefix(b"\xef\xbb\xbf"))
    assert score(gpt2_dir, path).code == 0


@pytest.mark.timeout(60)
def test_a_corpus_is_made_of_regular_files_in_its_folder(gpt2_dir, tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop").symlink_to("loop")
    for path, got in [
        (tmp_path / "pipe.txt", "a pipe, a socket or a device"),
        ("/dev/zero", "a pipe, a socket or a device"),
        (tmp_path / "loop", "symbolic links"),
        (tmp_path, "a pipe, a socket or a device"),
        ("x" * 5000, "File name too long"),
        ("a\0b", "null byte"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "pipe.txt" / "below", "Not a directory"),
    ]:
        refuse_corpus(gpt2_dir, path, got)
    (tmp_path / "pipe.txt").unlink()
    texts = tmp_path / "texts"
    (texts / "sub").mkdir(parents=True)
    (texts / "sub" / "a.txt").write_text(PROSE)
    (texts / "link.txt").symlink_to("sub/a.txt")
    (texts / "up").symlink_to("..")
    assert score(gpt2_dir, texts).code == 0
    (tmp_path / "secret").write_text(PROSE)
    (texts / "b.txt").symlink_to(tmp_path / "secret")
    refuse_corpus(gpt2_dir, texts, "leads out of the folder")


def test_a_run_refuses_a_hostile_corpus_before_it_creates_anything(gpt2_dir, tmp_path):
    wrong = sets([f"model={gpt2_dir}", "evaluation.corpora=text:/dev/zero"])
    refused("run", "quickstart", "--out", tmp_path / "r", *wrong, got="/dev/zero")
    refused("run", "quickstart", "--out", "x" * 5000, *sets([f"model={gpt2_dir}"]), got="too long")
    refused("sample", "/" + "x" * 5000, got="no such folder")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def word_model(tmp_path_factory):
    """A tiny model with a trained BPE tokenizer, as real models have: several bytes per token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator([PROSE * 50], trainer)
    tokenizer = FastTokenizer(tokenizer_object=core, bos_token="<s>", eos_token="<s>")
    return save_model(tokenizer, tmp_path_factory.mktemp("words") / "model")


# Linux counts the peak of the process that started this one into ru_maxrss, and that has
# whatever earlier tests left it with; the high-water mark of its own memory begins anew.
PEAK = """
import pathlib, re, resource, sys
from collapse_lm.cli.main import main
try:
    main()
finally:
    status = pathlib.Path("/proc/self/status")
    own = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
    peak = own[1] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("peak", peak, file=sys.stderr)
"""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["words", "one word"])
def test_a_line_without_end_takes_time_and_memory_in_proportion(
    kind, word_model, gpt2_dir, tmp_path
):
    """In a process of its own, whose peak is known. Where it does not fit, it is refused."""
    model, word = (gpt2_dir, "a") if kind == "one word" else (word_model, PROSE.replace("\n", " "))
    size = LINE if IS_FULL else LINE * 2 // 5
    size = size if kind == "words" or IS_FULL else size // 2  # each letter of one word is a token
    path = tmp_path / "line.txt"
    path.write_text((word * (size // len(word) + 1))[:size])
    arguments = ["eval", model, "--corpus", f"text:{path}", "--context", "64", "--tokens", "64"]
    begin = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=60 + size * 15e-6,
        check=False,
    )
    peak = int(re.search(r"peak (\d+)", process.stderr)[1]) * 1024
    print(f"{kind}: {size:,} bytes, {time.perf_counter() - begin:.1f} s, {peak / 1e9:.2f} GB")
    if process.returncode == 2:
        assert "GB while they are read" in process.stderr
        assert IS_FULL
        return
    assert process.returncode == 0, process.stderr
    tokens = json.loads(process.stdout)["corpora"][0]["tokens"]
    print(f"{tokens:,} tokens")
    assert peak < 0.7e9 + 250 * (tokens + size)


def test_a_text_too_large_for_the_memory_is_refused(gpt2_dir, tmp_path, monkeypatch):
    import psutil

    path = tmp_path / "line.txt"
    path.write_text("a" * 1_200_000)
    free = psutil.virtual_memory()._replace(available=100_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    got = "about 1,200,000 tokens, which need 0.6 GB"
    refuse_corpus(gpt2_dir, path, got)
