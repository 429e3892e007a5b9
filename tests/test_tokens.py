"""What is known of each token: where it ends in the text, and what the base model thinks of it."""

import itertools
import json
import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast as FastTokenizer

import collapse_lm
from collapse_lm import rng
from collapse_lm.config import identity, load_config
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Text
from collapse_lm.experiment.ends import token_ends
from collapse_lm.inference import inference_network
from collapse_lm.measures.against_base import base_log_probs
from collapse_lm.rundir import RunReader
from collapse_lm.sampling import Filters, sample

from conftest import byte_tokenizer, tiny_gpt2, tiny_llama

MEASURED = "measures=[base_log_probability]"
TEXTS = [
    "",
    "plain words",
    "caf\u00e9 \u4e2d\u6587\u5b57 \U0001f98a\U0001f98a \u202eabc \U0001f468\u200d\U0001f469",
    "  spaces   and\n\n\tlines ",
    "<|endoftext|>",
]


# --- where tokens end --------------------------------------------------------------------------


def words_tokenizer(decoder, vocabulary):
    core = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="?")
    )
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.decoder = decoder
    return FastTokenizer(tokenizer_object=core)


def decoder_of(tokenizer):
    settings = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    return lambda lists: [tokenizer.decode(list(ids), **settings) for ids in lists]


def ends_and_pieces(tokenizer, ids):
    decode = decoder_of(tokenizer)
    (text,) = decode([ids])
    (ends,) = token_ends([ids], [text], decode)
    pieces = [text[start:end] for start, end in itertools.pairwise((0, *ends))]
    assert "".join(pieces) == text
    return ends, pieces


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_end_with_the_character_that_they_complete(text):
    ids = byte_tokenizer()(text, add_special_tokens=False)["input_ids"]
    ends, _ = ends_and_pieces(byte_tokenizer(), ids)
    if text != "<|endoftext|>":
        whole = [len(text.encode()[: n + 1].decode(errors="ignore")) for n in range(len(ids))]
        assert list(ends) == whole
    else:
        assert ends == (len(text),)


def test_bytes_that_are_no_characters_have_ends_too():
    """A model draws bytes in any order; whatever a decoder gives for them adds up."""
    tokenizer, decode = byte_tokenizer(), decoder_of(byte_tokenizer())
    for seed in range(50):
        ids = torch.randint(257, (60,), generator=rng.stream(seed, "init", 0)).tolist()
        ends, _ = ends_and_pieces(tokenizer, ids)
        assert len(ends) == 60
        for place in range(60):  # as told: up to the last character that is whole by then
            told = decode([ids[: place + 1]])[0]
            assert len(told.rstrip("\ufffd")) <= ends[place] <= len(told)


def test_a_space_that_a_decoder_drops_at_the_start_is_found_again():
    names = ["?", "\u2581he", "llo", "\u2581", "x", "\u2581\u2581"]
    tokenizer = words_tokenizer(decoders.Metaspace(), names)
    ids = [1, 2, 1, 4, 3, 5, 4, 1]
    _, pieces = ends_and_pieces(tokenizer, ids)
    assert pieces == ["he", "llo", " he", "x", " ", "  ", "x", " he"]


def test_pieces_of_words_are_told_by_their_neighbours():
    tokenizer = words_tokenizer(decoders.WordPiece(), ["?", "un", "##like", "##ly", "end"])
    _, pieces = ends_and_pieces(tokenizer, [1, 2, 3, 4, 1, 2])
    assert pieces == ["un", "like", "ly", " end", " un", "like"]


def test_a_text_that_its_tokens_do_not_give_has_no_ends():
    decode = decoder_of(byte_tokenizer())
    assert token_ends([[72, 73]], ["another text"], decode) == [()]
    backwards = lambda lists: ["".join(map(str, reversed(ids))) for ids in lists]  # noqa: E731
    assert token_ends([[1, 2]], ["21"], backwards) == [()]


def test_the_work_grows_with_the_tokens_and_not_with_their_square():
    tokenizer, fed = byte_tokenizer(), []

    def decode(lists):
        fed.append(sum(map(len, lists)))
        return decoder_of(tokenizer)(lists)

    for count in (100, 400):
        ids = tokenizer("\U0001f98a" * count, add_special_tokens=False)["input_ids"]
        token_ends([ids], decode([ids]), decode)
    assert sum(fed[len(fed) // 2 :]) < 5 * sum(fed[: len(fed) // 2])


# --- what the base model thinks of them --------------------------------------------------------


@pytest.mark.parametrize("block", [None, 8])
@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
def test_log_probabilities_under_the_base_model_are_those_of_the_sampler(make, block):
    network = inference_network(make().double(), "float32")
    uniforms = rng.uniforms(rng.stream(3, "sample"), 3, 30)
    prompts = [[256], [256], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]
    for part in (slice(0, 2), slice(2, 3)):
        draw = sample(network, prompts[part], uniforms[part], Filters(0.8), block_size=block)
        texts = [Text(p, ids, "own") for p, ids in zip(draw.prompts, draw.samples, strict=True)]
        found = base_log_probs(network, texts, block)
        for one, other in zip(found, draw.log_probs, strict=True):
            assert one == pytest.approx(other, rel=1e-6, abs=1e-6)


def test_a_long_text_under_a_sliding_context_needs_no_more_positions_than_the_block():
    network = inference_network(tiny_gpt2(positions=16), "float32")
    text = Text((256,), tuple(range(100)), "own")
    (found,) = base_log_probs(network, [text, Text((256,), (1, 2), "own")], 16)[:1]
    assert len(found) == 100
    assert all(math.isfinite(value) for value in found)


@pytest.fixture(scope="module")
def measured(tiny_overrides, tmp_path_factory):
    out = tmp_path_factory.mktemp("measured") / "run"
    words = [*tiny_overrides, MEASURED, "run.checkpoint_every=50"]
    return collapse_lm.run("quickstart", out, overrides=words).directory


def test_the_base_model_is_itself_at_the_first_update_and_another_one_later(measured):
    rows, samples = RunReader(measured).updates(), RunReader(measured).samples()
    assert "base.loss" not in rows[0].values
    assert rows[1].get("base.log_ratio") == pytest.approx(0, abs=1e-5)
    assert rows[6].get("base.log_ratio") > 0.01
    for row, line in zip(rows[1:], samples, strict=True):
        (text,) = line.texts
        assert len(text.base_log_probs) == len(text.ids)
        assert row.get("base.loss") == pytest.approx(-sum(text.base_log_probs) / 40, abs=1e-3)
        ratio = row.get("base.loss") - row.get("probe.loss")
        assert row.get("base.log_ratio") == pytest.approx(ratio, abs=1e-5)
        kl = row.get("base.loss") - row.get("probe.sampling_entropy")
        assert row.get("base.kl") == pytest.approx(kl)


def test_the_measure_changes_nothing_else(measured, tiny_overrides, tmp_path):
    plain = collapse_lm.run("quickstart", tmp_path / "r", overrides=tiny_overrides).directory
    of_both = [RunReader(path).samples() for path in (measured, plain)]
    assert [row.texts[0].ids for row in of_both[0]] == [row.texts[0].ids for row in of_both[1]]
    rows = [RunReader(path).updates() for path in (measured, plain)]
    for one, other in zip(*rows, strict=True):
        shared = [name for name in other.values if not name.startswith("seconds.")]
        assert [one[name] for name in shared] == [other[name] for name in shared]
    config = load_config("quickstart", tiny_overrides)
    assert identity(config) != identity(load_config("quickstart", [*tiny_overrides, MEASURED]))


def test_a_resumed_run_has_the_same_values_of_tokens(measured, tiny_overrides, tmp_path):
    words = [*tiny_overrides, MEASURED, "run.checkpoint_every=50", "run.max_updates=3"]
    path = collapse_lm.run("quickstart", tmp_path / "r", overrides=words).directory
    collapse_lm.resume(path, overrides=["run.max_updates=6"])
    lines = [(one / "samples.jsonl").read_bytes() for one in (path, measured)]
    assert lines[0] == lines[1]
    rows = [RunReader(one).updates() for one in (path, measured)]
    for one, other in zip(*rows, strict=True):
        assert one.get("base.loss") == pytest.approx(other.get("base.loss"), rel=0, nan_ok=True)


def test_only_updates_with_a_probe_are_measured_and_the_probe_holds_the_values(
    tiny_overrides, prose_file, tmp_path
):
    class Plain:
        """The same few tokens for each update."""

        def draw(self, at):
            return collapse_lm.Batch((Text((256,), (72, 105), "corpus:x"),))

        def replay(self, texts):
            pass

    words = [*tiny_overrides, MEASURED, "probe.every=2", "probe.samples=2", "run.max_updates=4"]
    run = collapse_lm.run("quickstart", tmp_path / "r", overrides=words, source=Plain())
    rows, samples = (f(RunReader(run.directory)) for f in (RunReader.updates, RunReader.samples))
    assert [row.update for row in rows if "base.loss" in row.values] == [2, 4]
    assert all(len(text.base_log_probs) == 40 for row in samples for text in row.probe)
    assert all(text.base_log_probs == () for row in samples for text in row.texts)
    assert math.isfinite(rows[2].get("base.kl"))


# --- measures of others ------------------------------------------------------------------------


class Place:
    """A number per token: its place."""

    every = 2

    def __init__(self, name="my.place", short=0):
        self.name, self.short = name, short

    def token_values(self, at, probe):
        return {self.name: [torch.arange(len(t.ids) - self.short) for t in probe.texts]}

    def __call__(self, at, batch, probe):
        if not probe.texts:
            return {}
        assert batch is probe
        return {"my.last": probe.texts[0].per_token["my.place"][-1]}


def test_a_measure_of_somebody_else_gives_a_number_per_token(tiny_overrides, tmp_path):
    run = collapse_lm.run("quickstart", tmp_path / "r", overrides=tiny_overrides, measures=Place())
    rows, samples = (f(RunReader(run.directory)) for f in (RunReader.updates, RunReader.samples))
    assert [row.update for row in rows if row.get("my.last") == 39] == [2, 4, 6]
    assert [bool(row.texts[0].per_token) for row in samples] == [False, True] * 3
    line = json.loads((run.directory / "samples.jsonl").read_text("utf-8").splitlines()[1])
    assert line["texts"][0]["per_token"]["my.place"] == list(range(40))


def test_values_that_are_not_one_per_token_are_refused(tiny_overrides, tmp_path):
    with pytest.raises(UserError, match="one of each id"):
        collapse_lm.run(
            "quickstart", tmp_path / "r", overrides=tiny_overrides, measures=Place(short=1)
        )
