"""What a loop of its own takes: models in memory, samples, losses, the rule."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2LMHeadModel

import collapse_lm
from collapse_lm import Batch, CollapseRule, LanguageModel, RunReader, Text, UserError, Watch
from collapse_lm.config import load_config

from conftest import byte_tokenizer, tiny_gpt2, tiny_llama

SHORT = {"max_new_tokens": 30, "precision": "float32"}


@pytest.fixture
def model():
    return LanguageModel.of(tiny_gpt2(), byte_tokenizer())


def test_a_sample_is_that_of_update_one_of_a_run(tiny_overrides, gpt2_dir, tmp_path):
    words = [*tiny_overrides, "run.max_updates=1", "seed=3", "sampling.batch_size=2"]
    run = collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    sampling = load_config("quickstart", words).sampling
    keys = ("context", "temperature", "top_k", "top_p", "max_new_tokens")
    settings = {key: getattr(sampling, key) for key in keys}
    drawn = collapse_lm.sample(str(gpt2_dir), samples=2, seed=3, precision="float32", **settings)
    recorded = RunReader(run.directory).samples()[0].texts
    assert [text.ids for text in drawn.texts] == [text.ids for text in recorded]
    assert [text.text for text in drawn.texts] == [text.text for text in recorded]
    row = RunReader(run.directory).updates()[1]
    seen = collapse_lm.probe_row(1, drawn)
    same = seen.values.keys() & row.values.keys()
    assert {"text.loop_share", "probe.loss", "probe.entropy"} <= same
    for name in same:
        assert seen.get(name) == pytest.approx(row.get(name), rel=1e-5), name


def test_names_paths_and_models_are_scored_alike(gpt2_dir, prose_file):
    corpus = f"text:{prose_file}"
    by_name = collapse_lm.evaluate(str(gpt2_dir), corpus, context=64, precision="float32")
    loaded = collapse_lm.load_model(str(gpt2_dir))
    for model in (gpt2_dir, loaded, LanguageModel.of(loaded.network, loaded.tokenizer)):
        found = collapse_lm.evaluate(model, corpus, context=64, precision="float32")
        assert found == by_name
    data = collapse_lm.evaluation_set(loaded, corpus, context=64)
    assert collapse_lm.evaluate(loaded, data, precision="float32") == by_name
    assert collapse_lm.evaluate(loaded, [data, corpus], precision="float32").keys() == {corpus}


def test_the_default_context_is_what_the_model_has(model, prose_file):
    data = collapse_lm.evaluation_set(model, f"text:{prose_file}")
    assert data.context == 128


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_is_read_as_it_is_at_each_call(make, precision, prose_file):
    network = make()
    model, corpus = LanguageModel.of(network, byte_tokenizer()), f"text:{prose_file}"
    settings = {"context": 64, "precision": precision}
    before = collapse_lm.evaluate(model, corpus, **settings).loss
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    after = collapse_lm.evaluate(model, corpus, **settings).loss
    fresh = LanguageModel.of(copy.deepcopy(network), byte_tokenizer())
    assert after != before
    assert after == collapse_lm.evaluate(fresh, corpus, **settings).loss


def _cast_and_back(network):
    network.to(torch.float64).to(torch.float32)


def _assigned(network):
    network.load_state_dict({n: v.clone() for n, v in network.state_dict().items()}, assign=True)
    network.tie_weights()


def _swapped(network):
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()


@pytest.mark.parametrize("move", [_cast_and_back, _assigned, _swapped])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_that_lie_elsewhere_now_are_read_there(move, precision, model, prose_file):
    settings = {"context": 64, "precision": precision}
    before = collapse_lm.evaluate(model, f"text:{prose_file}", **settings).loss
    move(model.network)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(1.1)
    after = collapse_lm.evaluate(model, f"text:{prose_file}", **settings).loss
    fresh = LanguageModel.of(copy.deepcopy(model.network), byte_tokenizer())
    assert after != before
    assert after == collapse_lm.evaluate(fresh, f"text:{prose_file}", **settings).loss


class Doubled(torch.nn.Module):
    """As an adapter does: it has the weight of a layer, and does more than the layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.scale = layer, torch.nn.Parameter(torch.ones(()))

    @property
    def weight(self):
        return self.layer.weight

    @property
    def bias(self):
        return self.layer.bias

    def forward(self, x):
        return self.layer(x) * self.scale


class Flat(GPT2LMHeadModel):
    def forward(self, *arguments, **named):
        output = super().forward(*arguments, **named)
        output.logits = output.logits * 0
        return output


def _with_adapter(network):
    network.transformer.h[0].mlp.c_proj = Doubled(network.transformer.h[0].mlp.c_proj)


def _with_hook(network):
    network.transformer.h[0].mlp.register_forward_hook(lambda module, inputs, output: 2 * output)


def _with_forward(network):
    mlp = network.transformer.h[0].mlp
    inner = mlp.forward
    mlp.forward = lambda x: 2 * inner(x)


def _of_a_class_of_its_own(network):
    network.__class__ = Flat


@pytest.mark.parametrize(
    "change", [_with_adapter, _with_hook, _with_forward, _of_a_class_of_its_own]
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_that_is_more_than_its_family_is_read_as_it_is(
    change, precision, model, prose_file
):
    corpus, settings = f"text:{prose_file}", {"context": 64, "precision": precision}
    plain = collapse_lm.evaluate(model, corpus, **settings).loss
    change(model.network)  # the second call has to see it
    collapse_lm.evaluate(model, corpus, **settings)
    for module in model.network.modules():
        if isinstance(module, Doubled):  # at first an adapter changes nothing
            module.scale.data.fill_(2.0)
    found = collapse_lm.evaluate(model, corpus, **settings).loss
    assert found == pytest.approx(_loss(model, corpus), abs=1e-2)
    assert abs(found - plain) > 2e-2


def _loss(model, corpus):
    """Of the network's own forward."""
    data = collapse_lm.evaluation_set(model, corpus, context=64)
    total = 0.0
    with torch.no_grad():
        for window in data.windows:
            targets = data.targets_of(window)
            logits = model.network(input_ids=data.inputs_of(window)[None]).logits[0]
            total += float(cross_entropy(logits[-len(targets) :], targets, reduction="sum"))
    return total / data.tokens


def test_a_model_in_training_is_left_in_training(model, prose_file):
    model.network.train()
    frozen = model.network.transformer.h[0].eval()
    first = collapse_lm.sample(model, **SHORT)
    assert first.texts == collapse_lm.sample(model, **SHORT).texts  # no dropout
    collapse_lm.evaluate(model, f"text:{prose_file}", context=64)
    assert model.network.training
    assert not frozen.training
    assert not frozen.mlp.training


def test_rule_and_measures_see_a_loop_of_its_own(model):
    watch, optimizer = Watch(CollapseRule()), torch.optim.SGD(model.network.parameters(), lr=0.1)
    for step in range(1, 61):
        probe = collapse_lm.sample(model, seed=step, temperature=0.5, **SHORT)
        if watch.see(collapse_lm.probe_row(step, probe)).collapsed:
            break
        (text,) = probe.texts
        ids = torch.tensor([[*text.prompt, *text.ids]])
        optimizer.zero_grad()
        model.network(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    assert watch.verdict.collapsed
    assert 1 < watch.verdict.collapse_update < 60


def test_texts_of_another_sampler_are_judged_by_their_text_alone():
    watch = Watch(CollapseRule(patience=2))
    for step in (1, 2):
        text = Text((0,), (5, 6) * 20, "own", "ab" * 20)
        row = collapse_lm.probe_row(step, Batch((text,)))
        watch.see(row)
    assert watch.verdict.collapse_update == 1
    assert watch.verdict.reasons == ("loop_share", "seq_rep_4")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m: collapse_lm.sample(m, temperature=-1), "sampling.temperature"),
        (lambda m: collapse_lm.sample(m, temprature=1), r"did you mean temperature\?"),
        (lambda m: collapse_lm.sample(m, max_new_tokens=500), "at most 128"),
        (lambda m: collapse_lm.evaluate(m, "sotuu"), "sotuu"),
        (lambda m: collapse_lm.evaluate(m, "sotu", context=500), "at most 128"),
        (lambda m: collapse_lm.sample("./nowhere"), "no such folder"),
    ],
)
def test_a_mistake_is_told(call, told, model):
    with pytest.raises(UserError, match=told):
        call(model)


def test_a_tokenizer_that_does_not_fit_is_told():
    network = tiny_gpt2()
    network.resize_token_embeddings(100)
    with pytest.raises(UserError, match="embedding"):
        LanguageModel.of(network, byte_tokenizer())


def test_the_example_runs_as_written(gpt2_dir, prose_file):
    from examples.own_loop import main

    rows, verdict = main(str(gpt2_dir), f"text:{prose_file}", steps=4, tokens=30)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["validation"] != rows[0]["validation"]
    assert not verdict.collapsed
