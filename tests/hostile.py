"""What the tests of hostile input share: calls in this process, and what they may show.

Full sizes: COLLAPSE_LM_EXAMPLES=5000 COLLAPSE_LM_DAMAGED=500 (configurations, damaged runs).
"""

import contextlib
import io
import logging
import os
import sys
import unicodedata
from dataclasses import dataclass

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from collapse_lm.cli.main import main

EXAMPLES = int(os.environ.get("COLLAPSE_LM_EXAMPLES", "300"))
DAMAGED = int(os.environ.get("COLLAPSE_LM_DAMAGED", "40"))
IS_FULL = EXAMPLES >= 5000
LINE = 50_000_000 if IS_FULL else 5_000_000  # bytes of the longest line

ESCAPES = ["\x1b[31;5m", "\x1b]0;owned\x07", "\x9b2J", "\u202e", "\x08\x08", "\r"]
MARKUP = [
    "<script>alert(1)</script>",
    "\n```\n",
    "~~~",
    "\n# heading\n",
    "[a](javascript:b)",
    "[bold]",
]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def call(*arguments):
    """Call the command line in this process; see that it ends as it may."""
    handlers, root = logging.getLogger().handlers[:], logging.getLogger()
    argv, out, err, code = sys.argv, io.StringIO(), io.StringIO(), 0
    factory = logging.getLogRecordFactory()
    sys.argv, root.handlers = ["collapse-lm", *map(str, arguments)], []
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv, root.handlers = argv, handlers
        logging.setLogRecordFactory(factory)
    outcome = Outcome(code, out.getvalue(), err.getvalue())
    assert outcome.code in {0, 1, 2}, outcome
    assert "Traceback" not in outcome.err
    return outcome


def plain(text):
    """True of a text in which nothing can move a cursor or turn the reading direction."""
    return all(c == "\n" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in text)


def quiet(*arguments):
    outcome = call(*arguments)
    assert plain(outcome.out), outcome
    assert plain(outcome.err), outcome
    return outcome


def refused(*arguments, got):
    outcome = quiet(*arguments)
    assert outcome.code == 2, outcome
    assert got in outcome.err
    assert "expected" in outcome.err
    return outcome.err


def sets(overrides):
    return [word for override in overrides for word in ("--set", override)]


def tree(folder):
    """What a folder holds: bytes of files, targets of links."""
    return {
        str(p.relative_to(folder)): p.readlink()
        if p.is_symlink()
        else p.read_bytes()
        if p.is_file()
        else None
        for p in folder.rglob("*")
        if p.name != ".lock"
    }


def save_model(tokenizer, place):
    torch.manual_seed(0)
    sizes = {"n_positions": 128, "n_embd": 32, "n_layer": 1, "n_head": 2}
    start = tokenizer.convert_tokens_to_ids("<s>")
    special = {"bos_token_id": start, "eos_token_id": start}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **special)).save_pretrained(
        place
    )
    tokenizer.save_pretrained(place)
    return place
