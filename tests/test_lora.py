"""Adapters: the merged weights are what is trained, sampled, measured, exported and resumed."""

import pytest
import torch
from safetensors.torch import load_file
from test_parts import numbers
from transformers import AutoModelForCausalLM

import collapse_lm
from collapse_lm import rng
from collapse_lm.config import identity, load_config
from collapse_lm.config.sections import LoraConfig
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import prepare
from collapse_lm.experiment.lora import Adapted, targets_of
from collapse_lm.rundir import RunReader

from conftest import tiny_gpt2, tiny_llama

pytest.importorskip("peft")
PLAIN = ["run.report=false", "observers=[]", "collapse.stop=false", "run.checkpoint_every=3"]
ADAPTERS = ["training.lora.rank=2", "training.learning_rate=0.05"]
IDS = torch.tensor([[5, 6, 7, 8]])


def moved(make, **settings):
    """An adapted network whose factors are all numbers drawn at random."""
    adapted = Adapted(make(), LoraConfig(rank=3, alpha=6, **settings), seed=4)
    numbers_drawn = rng.stream(1, "init")
    with torch.no_grad():
        for parameter in adapted.trained.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=numbers_drawn) * 0.1)
    return adapted


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
def test_the_merged_network_is_the_adapted_one(make):
    adapted, before = moved(make), make()
    assert torch.equal(adapted.network(IDS).logits, before(IDS).logits)  # it has not followed yet
    adapted.follow()
    found, wanted = adapted.network(IDS).logits, adapted.trained(IDS).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, before(IDS).logits, atol=1e-3)


def test_a_weight_is_that_of_the_definition():
    adapted, before = moved(tiny_llama, targets=("q_proj",)), tiny_llama()
    adapted.follow()
    for old, new, with_factors in zip(
        before.model.layers, adapted.network.model.layers, adapted.trained.model.layers, strict=True
    ):
        layer = with_factors.self_attn.q_proj
        product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        wanted = old.self_attn.q_proj.weight + 6 / 3 * product
        torch.testing.assert_close(new.self_attn.q_proj.weight, wanted)
        assert torch.equal(new.self_attn.k_proj.weight, old.self_attn.k_proj.weight)


def test_only_adapters_are_trained_and_other_weights_are_shared():
    adapted = Adapted(tiny_llama(), LoraConfig(rank=2, targets="mlp.up_proj"), seed=0)
    trained = {n for n, p in adapted.trained.named_parameters() if p.requires_grad}
    assert trained == {
        f"model.layers.{layer}.mlp.up_proj.lora_{factor}.default.weight"
        for layer in (0, 1)
        for factor in "AB"
    }
    assert adapted.trained.lm_head.weight is adapted.network.lm_head.weight


def test_adapters_begin_as_nothing_and_follow_from_the_seed():
    networks = [tiny_gpt2() for _ in range(3)]
    state = torch.get_rng_state()
    made = [
        Adapted(network, LoraConfig(rank=2), seed).trained
        for network, seed in zip(networks, (1, 1, 2), strict=True)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    factors = [dict(network.named_parameters()) for network in made]
    drawn = [name for name in factors[0] if "lora_A" in name]
    assert all(torch.equal(factors[0][name], factors[1][name]) for name in drawn)
    assert not any(torch.equal(factors[0][name], factors[2][name]) for name in drawn)
    assert all(not p.any() for name, p in factors[0].items() if "lora_B" in name)


def done(overrides, path, *words):
    config = load_config("quickstart", [*overrides, *PLAIN, *ADAPTERS, *words])
    return collapse_lm.run(config, path).directory


@pytest.mark.parametrize("words", [[], ["training.ema.decay=0.5"]])
def test_six_updates_are_three_and_a_resume_and_three(words, tiny_overrides, tmp_path):
    words = [*words, "training.steps_per_update=2", "run.export_model=true"]
    whole = done(tiny_overrides, tmp_path / "whole", *words)
    half = done(tiny_overrides, tmp_path / "half", *words, "run.max_updates=3")
    collapse_lm.resume(half, overrides=["run.max_updates=6"])
    assert numbers(half) == numbers(whole)
    for name in ("samples.jsonl", "model/model.safetensors"):
        assert (half / name).read_bytes() == (whole / name).read_bytes()


def test_the_export_is_a_plain_model_that_is_as_measured(tiny_overrides, gpt2_dir, tmp_path):
    words = ["run.export_model=true", "run.max_updates=2", "run.checkpoint_every=1"]
    path = done(tiny_overrides, tmp_path / "run", *words, "measures=[drift]")
    exported = AutoModelForCausalLM.from_pretrained(path / "model")
    assert type(exported) is type(AutoModelForCausalLM.from_pretrained(gpt2_dir))
    last = RunReader(path).updates()[-1]
    ((corpus, loss),) = last.labelled("validation.loss").items()
    told = collapse_lm.evaluate(path / "model", corpus, context=64, precision="float32")
    assert told.loss == pytest.approx(loss, rel=1e-6)
    assert last.get("drift[attention]") > 0 == last.get("drift[embeddings]")
    (*_, newest) = sorted((path / "checkpoints").iterdir())
    saved = load_file(newest / "model.safetensors")
    assert saved
    assert all("lora_" in name for name in saved)


def test_what_samples_is_the_base_model_as_yet_and_reads_as_fast_a_way(tiny_overrides):
    parts, plain = (
        prepare(load_config("quickstart", [*tiny_overrides, *words])) for words in (ADAPTERS, [])
    )
    models = parts.state.models
    assert models.sampler.describe() == plain.state.models.sampler.describe()
    assert torch.equal(models.base().hidden(IDS), models.evaluator.hidden(IDS))
    gradients = [p.requires_grad for p in models.trained.parameters()]
    assert any(gradients)
    assert not all(gradients)


def test_dropout_of_adapters_acts_only_in_steps_that_drop(tiny_overrides, tmp_path):
    two = ["run.max_updates=2", "training.steps_per_update=2"]
    drops = [*two, "training.lora.dropout=0.5"]
    plain, idle = (done(tiny_overrides, tmp_path / n, *w) for n, w in (("a", two), ("b", drops)))
    assert numbers(plain) == numbers(idle)
    network = moved(tiny_llama, dropout=0.5).trained  # it has no other dropout
    steady = network(IDS).logits
    with rng.as_global(0, "dropout", 1, network.device):
        assert not torch.equal(network.train()(IDS).logits, steady)
    assert torch.equal(network.eval()(IDS).logits, steady)


@pytest.mark.parametrize(
    ("make", "targets", "told"),
    [
        (tiny_llama, ("q_proj", "qproj"), "qproj"),
        (tiny_llama, ("lm_head",), "lm_head"),
        (tiny_gpt2, ("wte",), "c_attn, c_proj, c_fc"),
    ],
)
def test_layers_that_there_are_not_are_told(make, targets, told):
    with pytest.raises(UserError, match=r"training\.lora\.targets") as caught:
        targets_of(make(), targets)
    assert told in str(caught.value)


def test_a_model_without_linear_layers_is_refused():
    with pytest.raises(UserError, match="without linear layers"):
        prepare(load_config("quickstart", ["model=toy:unigram", *ADAPTERS]))


def test_without_peft_the_command_that_installs_it_is_told(tiny_overrides, monkeypatch, tmp_path):
    monkeypatch.setattr("collapse_lm.experiment.lora.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'collapse-lm\[lora\]'"):
        done(tiny_overrides, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_each_setting_makes_another_run():
    words = [[], ["rank=2"], ["rank=3"], ["rank=2", "alpha=1"], ["rank=2", "targets=q_proj"]]
    keys = [[f"training.lora.{word}" for word in some] for some in words]
    found = {identity(load_config("quickstart", some)) for some in keys}
    assert len(found) == len(words)
    assert load_config("quickstart", keys[-1]).training.lora.targets == ("q_proj",)
