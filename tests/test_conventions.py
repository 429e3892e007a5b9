"""What users of the field expect of prompts, vocabularies, dropout and windows, and the other way.

Each choice has a key; its default changes no number of GPT-2 and SmolLM2.
"""

import json
import math

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Config, GPT2LMHeadModel

import collapse_lm
from collapse_lm import rng
from collapse_lm.config import load_config
from collapse_lm.config.sections import CollapseRule
from collapse_lm.corpora.corpus import Corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import context_of, own_samples, prepare, ready_model
from collapse_lm.inference import inference_network
from collapse_lm.measures.names import Row
from collapse_lm.measures.validation import evaluate
from collapse_lm.models.tokens import own_start, unknown_ids
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.summary import sum_up

from commands import call
from conftest import END, PROSE, byte_tokenizer, save, tiny_gpt2

HI = tuple(b - 33 for b in b"Hi")  # ids of the byte tokenizer, whose alphabet begins at "!"


def tokenizer_that_begins():
    """A tokenizer that puts a BOS before each text, as those of Llama and Gemma do."""
    tokenizer = byte_tokenizer()
    pieces = {"single": f"{END} $A", "pair": f"{END} $A {END} $B"}
    process = TemplateProcessing(**pieces, special_tokens=[(END, 256)])
    tokenizer.backend_tokenizer.post_processor = process
    return tokenizer


@pytest.fixture(scope="module")
def beginning_dir(tmp_path_factory):
    folder = save(tiny_gpt2(), tmp_path_factory.mktemp("models") / "beginning")
    tokenizer_that_begins().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def padded_dir(tmp_path_factory):
    """A head of 320 rows over a tokenizer of 257 tokens."""
    torch.manual_seed(0)
    sizes = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.2}
    network = GPT2LMHeadModel(GPT2Config(vocab_size=320, bos_token_id=256, **sizes))
    return save(network.eval(), tmp_path_factory.mktemp("models") / "padded")


def recorded(directory):
    return [text for row in RunReader(directory).samples() for text in row.texts]


# Prompts


@pytest.mark.parametrize(("start", "wanted"), [("auto", (256, *HI)), ("never", HI)])
def test_a_prompt_begins_with_what_the_tokenizer_puts_before_a_text(
    start, wanted, beginning_dir, tiny_overrides, tmp_path
):
    more = [f"model={beginning_dir}", "sampling.prompt=Hi", f"sampling.prompt_start={start}"]
    config = load_config("quickstart", [*tiny_overrides, *more, "run.max_updates=1"])
    assert [
        text.prompt for text in recorded(collapse_lm.run(config, tmp_path / "r").directory)
    ] == [wanted]


def test_so_do_the_prompts_of_a_file_and_an_empty_one_is_the_start_token(beginning_dir, tmp_path):
    (tmp_path / "p.txt").write_text(f"Hi\n\n{END}Hi\n")
    more = [f"model={beginning_dir}", f"sampling.prompts={tmp_path / 'p.txt'}"]
    config = load_config("quickstart", [*more, "precision=float32"])
    assert context_of(config, ready_model(config)).prompts.ids == ((256, *HI), (256,), (256, *HI))


def test_a_tokenizer_that_puts_nothing_before_a_text_leaves_a_prompt_as_it_is(gpt2_tokenizer):
    assert own_start(byte_tokenizer(), "Hi") == ()
    assert own_start(gpt2_tokenizer, "Hi") == ()
    assert own_start(tokenizer_that_begins(), "Hi") == (256,)


def test_a_run_whose_recorded_prompts_were_others_is_not_resumed(
    beginning_dir, tiny_overrides, tmp_path
):
    model = tmp_path / "model"
    save(tiny_gpt2(), model)
    more = [f"model={model}", "sampling.prompt=Hi", "run.max_updates=2"]
    collapse_lm.run(load_config("quickstart", [*tiny_overrides, *more]), tmp_path / "r")
    before = (tmp_path / "r" / "samples.jsonl").read_bytes()
    manifest = tmp_path / "r" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["model"].pop("files", None)  # as earlier versions wrote it, without the tokenizer's hash
    manifest.write_text(json.dumps(facts))
    tokenizer_that_begins().save_pretrained(model)
    with pytest.raises(UserError, match="prompt"):
        collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=4"])
    assert (tmp_path / "r" / "samples.jsonl").read_bytes() == before


# Vocabulary


def drawn(model, *more):
    settings = ["sampling.temperature=2", "sampling.top_k=null", "sampling.batch_size=2"]
    words = [f"model={model}", "precision=float32", "sampling.max_new_tokens=60", *settings, *more]
    config = load_config("quickstart", words)
    ready = ready_model(config)
    return own_samples(config, ready).sample(ready.sampler, 1).samples


def test_rows_of_a_padded_vocabulary_are_drawn_unless_only_tokens_are_asked_for(padded_dir):
    assert max(map(max, drawn(padded_dir))) > 256
    only = drawn(padded_dir, "sampling.vocabulary=tokenizer")
    assert max(map(max, only)) <= 256
    assert drawn(padded_dir, "sampling.vocabulary=tokenizer", "sampling.speculation=8") == only


def test_the_probabilities_of_the_tokens_are_those_of_the_whole_head_renormalised(padded_dir):
    config = load_config("quickstart", [f"model={padded_dir}", "sampling.vocabulary=tokenizer"])
    ready = ready_model(config)
    filters = context_of(config, ready).sampling().filters
    assert filters.excluded == tuple(range(257, 320))
    assert unknown_ids(tiny_gpt2(), byte_tokenizer()) == ()


# Dropout


@pytest.mark.parametrize(
    "more", [["precision=float32"], ["precision=bfloat16"], ["sampling.max_new_tokens=100"]]
)
def test_dropout_follows_the_run_and_nothing_else_and_resumes_exactly(
    more, tiny_overrides, tmp_path, monkeypatch
):
    monkeypatch.setattr("collapse_lm.experiment.learner._CHUNK", 64)  # both ways of the loss
    settings = [*tiny_overrides, *more, "training.dropout=true", "training.steps_per_update=2"]
    whole = collapse_lm.run(load_config("quickstart", settings), tmp_path / "whole")
    torch.manual_seed(99)
    before = torch.get_rng_state()
    half, asked = load_config("quickstart", settings), iter([False, False, False, True])
    collapse_lm.run(half, tmp_path / "half", should_stop=lambda: next(asked))
    assert torch.equal(torch.get_rng_state(), before)
    assert any((tmp_path / "half" / "checkpoints").iterdir())
    collapse_lm.resume(tmp_path / "half")
    files = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("whole", "half")]
    assert files[0] == files[1]
    off = collapse_lm.run(load_config("quickstart", tiny_overrides), tmp_path / "off")
    assert recorded(off.directory) != recorded(whole.directory)


def test_under_dropout_the_rule_looks_at_the_model_that_drew(tiny_overrides, tmp_path):
    settings = [*tiny_overrides, "training.dropout=true", "run.max_updates=1"]
    reader = RunReader(
        collapse_lm.run(load_config("quickstart", settings), tmp_path / "r").directory
    )
    row, (text,) = reader.updates()[1], recorded(reader.path)
    of_the_model = -sum(text.log_probs) / len(text.ids)
    assert row.get("probe.loss") == pytest.approx(of_the_model, rel=1e-4)
    assert row.get("train.loss") != pytest.approx(of_the_model, rel=1e-3)


def test_a_step_with_dropout_is_a_step_of_torch_in_training_mode(tiny_overrides):
    settings = ["training.dropout=true", "training.learning_rate=0.1", "training.grad_clip=null"]
    sgd = ["training.optimizer.kind=sgd", "training.weight_decay=0"]
    config = load_config("quickstart", [*tiny_overrides, *settings, *sgd])
    parts = prepare(config)
    network = tiny_gpt2()
    network.load_state_dict(parts.model.network.state_dict())
    from collapse_lm.loop import self_train

    records = self_train(parts.state, parts.experiment)
    next(records)
    (text,) = next(records).batch.texts
    ids = torch.tensor([[*text.prompt, *text.ids]])
    with torch.random.fork_rng([]):
        torch.manual_seed(rng.stream(0, "dropout", 1).initial_seed())
        logits = network.train()(ids[:, :-1]).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
    loss.backward()
    for parameter, trained in zip(
        network.parameters(), parts.model.network.parameters(), strict=True
    ):
        wanted = parameter.detach() - 0.1 * parameter.grad
        torch.testing.assert_close(trained.detach(), wanted, rtol=1e-4, atol=1e-6)
    assert not parts.model.network.training


# Windows


@pytest.mark.parametrize(("context", "stride"), [(16, None), (16, 5), (7, 1)])
def test_each_window_can_begin_with_the_start_token(context, stride):
    network = tiny_gpt2().double()
    text = Corpus("test", PROSE[:100], "raw", "none", "test", "0")
    data = EvaluationSet.build(text, byte_tokenizer(), 256, context, stride, None, True)
    plain = EvaluationSet.build(text, byte_tokenizer(), 256, context, stride)
    assert data.windows == plain.windows
    total, corpus = 0.0, data.ids.tolist()[1:]
    for window in data.windows:
        fed = [256, *corpus[window.first_input : window.end - 1]]
        assert len(fed) == window.inputs
        with torch.no_grad():
            log_p = network(torch.tensor([fed])).logits[0].log_softmax(-1)
        for target in range(window.first_target, window.end):
            total -= log_p[target - window.first_input, corpus[target]].item()
    found = evaluate(inference_network(network, "float32"), data)
    assert found.loss == pytest.approx(total / 100, rel=1e-9)
    assert found.tokens == 100
    assert not math.isclose(found.loss, evaluate(inference_network(network, "float32"), plain).loss)


def test_a_run_takes_the_windows_that_are_asked_for(tiny_overrides, tmp_path):
    settings = [*tiny_overrides, "run.max_updates=0"]
    losses = [
        collapse_lm.run(
            load_config("quickstart", [*settings, f"evaluation.start_token={start}"]),
            tmp_path / start,
        ).summary["validation"]["start"]
        for start in ("first", "every")
    ]
    assert losses[0] != losses[1]


# What numbers mean


def test_a_base_model_that_loops_by_itself_is_told_apart_from_a_collapse(tiny_overrides, tmp_path):
    settings = [*tiny_overrides, "sampling.temperature=0", "collapse.loop_share=0.1"]
    result = collapse_lm.run(load_config("quickstart", settings), tmp_path / "greedy")
    assert result.summary["collapse_update"] == 1
    assert result.summary["degenerate_before_training"] is True
    assert "degenerate before any training" in result.summary["reason"]
    told = call("resume", tmp_path / "greedy").stdout
    assert "collapse update 1 (degenerate before any training)" in told
    page = (tmp_path / "greedy" / "samples.md").read_text()
    assert "nats at temperature 1, unfiltered, 0.00 as drawn" in page


def row(update, loop_share):
    return Row(update, {"text.loop_share": loop_share, "text.seq_rep_4": 0.0, "probe.loss": 3.0})


def test_a_collapse_by_training_is_not_said_to_be_before_it(tmp_path):
    rows = [Row(0), *(row(update, 0.9 if update > 1 else 0.0) for update in range(1, 9))]
    found = sum_up(rows, CollapseRule()).result("finished")
    assert (found["collapse_update"], found["degenerate_before_training"]) == (2, False)
    assert found["reason"] == "collapse: loop_share for 5 updates in a row"
