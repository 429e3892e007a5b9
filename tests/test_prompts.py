"""What stands before a sample: prompts from a file, and the token that begins a text."""

import json

import pytest
import torch

import collapse_lm
from collapse_lm.config import SamplingConfig, load_config
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import context_of, ready_model
from collapse_lm.experiment.prompts import make_prompts
from collapse_lm.models.tokens import start_token
from collapse_lm.rundir import RunReader

from conftest import byte_tokenizer, tiny_gpt2

LINES = ["One line", "Another one", "", "A third, which is longer than the others"]


def encode(text):
    return list(text.encode())


def prompts(tmp_path, lines=LINES, name="prompts.txt", **settings):
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return make_prompts(SamplingConfig(prompts=str(path), **settings), 0, encode, 256)


def test_prompts_come_in_order_and_begin_again(tmp_path):
    found = prompts(tmp_path)
    assert found.of(1, 3) == [tuple(encode(line)) or (256,) for line in LINES[:3]]
    assert found.of(2, 3) == [tuple(encode(line)) or (256,) for line in (LINES[3], *LINES[:2])]
    assert found.longest == len(LINES[3])


def test_prompts_are_drawn_from_a_stream_of_their_own(tmp_path):
    found = prompts(tmp_path, prompt_order="random")
    drawn = [found.of(update, 5) for update in range(1, 40)]
    assert drawn == [found.of(update, 5) for update in range(1, 40)]
    assert {prompt for batch in drawn for prompt in batch} == set(found.ids)
    assert len({tuple(batch) for batch in drawn}) > 30


def test_prompts_of_jsonl_are_the_values_of_their_key(tmp_path):
    lines = [json.dumps({"prompt": "two\nlines", "id": 7}), json.dumps({"prompt": ""})]
    found = prompts(tmp_path, lines, "prompts.jsonl")
    assert found.ids == (tuple(encode("two\nlines")), (256,))


def test_a_line_ends_with_a_line_feed_and_nothing_else(tmp_path):
    (tmp_path / "p.txt").write_bytes("a\x0cb\u2028c\r\n\nd".encode())
    found = make_prompts(SamplingConfig(prompts=str(tmp_path / "p.txt")), 0, encode, 256)
    assert found.ids == (tuple(encode("a\x0cb\u2028c")), (256,), tuple(encode("d")))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("p.txt", b"", "an empty file"),
        ("p.txt", b"ok\n\xff\n", "byte 3 is not UTF-8"),
        ("p.jsonl", b'{"prompt": "a"}\n{"text": "b"}\n', "line 2"),
        ("p.jsonl", b"[1]\n", "line 1"),
        ("p.jsonl", b"not json\n", "line 1"),
    ],
)
def test_what_is_wrong_with_a_file_of_prompts_is_told(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told):
        make_prompts(SamplingConfig(prompts=str(tmp_path / name)), 0, encode, 256)


def test_a_file_of_prompts_that_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        make_prompts(SamplingConfig(prompts=str(tmp_path / "nowhere")), 0, encode, 256)


def test_a_prompt_and_a_file_of_prompts_exclude_one_another():
    with pytest.raises(UserError, match=r"sampling\.prompts"):
        load_config("quickstart", ["sampling.prompt=a", "sampling.prompts=b"])


@pytest.mark.parametrize(
    "changes",
    [
        ["sampling.batch_size=3"],
        ["sampling.batch_size=3", "sampling.speculation=off", "precision=bfloat16"],
        ["sampling.batch_size=2", "sampling.context=sliding", "sampling.block_size=12"],
        ["sampling.prompt_order=random", "probe.samples=2"],
    ],
)
def test_a_run_records_the_prompt_of_each_text_and_resumes(changes, tiny_overrides, tmp_path):
    (tmp_path / "p.txt").write_text("\n".join(LINES), encoding="utf-8")
    words = [*tiny_overrides, *changes, f"sampling.prompts={tmp_path / 'p.txt'}"]
    whole = collapse_lm.run("quickstart", tmp_path / "whole", overrides=words)
    short = [*words, "run.max_updates=3", "run.checkpoint_every=3"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=short)
    collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=6"])
    samples = RunReader(whole.directory).samples()
    assert samples == RunReader(tmp_path / "r").samples()
    config = load_config("quickstart", words)
    known = context_of(config, ready_model(config)).prompts
    for row in samples:
        expected = known.of(row.update, config.sampling.batch_size)
        assert [text.prompt for text in row.texts] == expected
    assert RunReader(whole.directory).manifest()["prompts_sha256"] == known.sha256


def test_prompts_of_several_lengths_draw_what_each_draws_alone(tiny_overrides, tmp_path):
    """One token after the other, each from the whole of what stands before it."""
    from collapse_lm import rng
    from collapse_lm.inference import inference_network
    from collapse_lm.sampling import Filters, sample

    network = inference_network(tiny_gpt2().double(), "float32")
    given = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10]]
    uniforms = rng.uniforms(rng.stream(0, "sample", 1), 3, 20)
    together = sample(network, given, uniforms, Filters(0.8, 50))
    for place, prompt in enumerate(given):
        alone = sample(network, prompt, uniforms[place : place + 1], Filters(0.8, 50))
        assert together.samples[place] == alone.samples[0]
        assert together.log_probs[place] == pytest.approx(alone.log_probs[0], rel=1e-9)


def test_changed_prompts_are_refused_at_a_resume(tiny_overrides, tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("one\ntwo\n")
    words = [*tiny_overrides, f"sampling.prompts={path}", "run.checkpoint_every=3"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=[*words, "run.max_updates=3"])
    path.write_text("one\nthree\n")
    before = (tmp_path / "r" / "updates.jsonl").read_bytes()
    with pytest.raises(UserError, match="prompts_sha256"):
        collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=5"])
    assert (tmp_path / "r" / "updates.jsonl").read_bytes() == before


# --- the start token ---------------------------------------------------------------------------


def test_auto_is_what_it_was(gpt2_dir):
    config = load_config("quickstart", [f"model={gpt2_dir}", "evaluation.corpora=[sotu]"])
    assert context_of(config, ready_model(config)).prompts.ids == ((256,),)


def test_a_start_token_is_named_by_its_text():
    found = start_token("a", "mine", tiny_gpt2(), byte_tokenizer(), 256)
    assert byte_tokenizer().decode([found]) == "a"


def test_a_start_of_several_tokens_is_refused():
    with pytest.raises(UserError, match="which is 2 tokens"):
        start_token("ab", "mine", tiny_gpt2(), byte_tokenizer(), 256)


def test_document_is_the_end_of_text_for_gpt2_and_refused_where_it_is_not_known():
    network = tiny_gpt2()
    assert start_token("document", "gpt2", network, byte_tokenizer(), 0) == 256
    network.config.model_type = "some-new-one"
    with pytest.raises(UserError, match="it is not known what began the documents"):
        start_token("document", "mine", network, byte_tokenizer(), 0)


@pytest.mark.embedded
def test_document_is_not_the_chat_header_for_the_packaged_model():
    from collapse_lm.models import packaged

    if packaged.packaged_file() is None and not packaged.is_converted():
        pytest.skip("the packaged model is not installed")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(packaged.prepare().folder)
    found = start_token("document", packaged.NAME, None, tokenizer, tokenizer.bos_token_id)
    assert tokenizer.convert_ids_to_tokens(found) == "<|endoftext|>"
    assert tokenizer.convert_ids_to_tokens(tokenizer.bos_token_id) == "<|im_start|>"


def test_log_probabilities_are_those_of_the_model_at_temperature_1(tiny_overrides, tmp_path):
    words = [*tiny_overrides, "sampling.temperature=0.5", "run.max_updates=1"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    (text,) = RunReader(tmp_path / "r").samples()[0].texts
    with torch.no_grad():
        logits = tiny_gpt2()(torch.tensor([[*text.prompt, *text.ids]])).logits[0, :-1]
    wanted = logits.log_softmax(-1).gather(-1, torch.tensor(text.ids)[:, None]).squeeze(-1)
    assert text.log_probs == pytest.approx(wanted.tolist(), abs=1e-3)
