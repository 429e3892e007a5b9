"""The monitor: every state by models and texts with known answers, its pace, its manners."""

import copy
import gc
import logging
import math
import random
import re
import subprocess
import sys
from types import MethodType

import numpy as np
import pytest
import torch

from collapse_lm.config import CollapseRule
from collapse_lm.errors import UserError
from collapse_lm.inference.as_configured import is_as_configured
from collapse_lm.monitor import Monitor, voice
from collapse_lm.monitor.manners import left_as_found
from collapse_lm.monitor.pace import Pace
from collapse_lm.monitor.reading import unwrapped
from collapse_lm.monitor.tokens import token_ids

from conftest import PROSE, byte_tokenizer, tiny_gpt2, tiny_llama
from monitored import BASE, EOS, SHORT, STATES, TOKENS, becomes, uniform, unigram

NEVER = CollapseRule(loop_share=1, seq_rep_4=1, train_loss=0, patience=9, distinct=1e-6)
QUICK = {"held_out_tokens": 128, "samples": 2, "max_new_tokens": 12}


@pytest.fixture
def made(tmp_path):
    """Makes monitors that write below a folder of the test."""
    count = iter(range(100))

    def make(tokenizer=None, **settings):
        tokenizer = tokenizer or byte_tokenizer()
        return Monitor(tokenizer, out=tmp_path / f"m{next(count)}", **{**SHORT, **settings})

    return make


# --- states ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATES)
def test_each_state_is_entered_with_its_onset(name, made):
    after, expected = STATES[name]
    network, monitor = unigram(BASE), made(on_collapse="stop")
    findings = [monitor.start(network)]
    for step in range(1, 6):
        becomes(network, after if step >= 3 else BASE)
        findings.append(monitor.observe(network, step=step))
    assert [set(one.shown) for one in findings[:3]] == [set()] * 3
    assert set(findings[3].shown) >= expected - {"mode"}  # one probe: a warning
    assert not findings[3].entered
    assert not findings[3].should_stop
    assert set(findings[4].entered) >= expected - {"mode"}
    assert set(findings[5].entered) == expected
    assert set(findings[5].entered.values()) <= {3, 4}
    assert findings[5].entered[name] == 3
    assert findings[4].is_new
    assert findings[5].should_stop == (name != "drift")
    assert name in findings[5].message
    assert f"since step {findings[5].entered[name]}" in findings[5].message
    assert not any(one.broken_at_start for one in findings)


def test_a_state_that_was_left_can_be_entered_again(made):
    network, monitor = unigram(BASE), made(held_out=None)
    monitor.start(network)
    told = []
    for step in range(1, 11):
        becomes(network, STATES["shrink"][0] if step in (2, 3, 8, 9) else BASE)
        told.append(monitor.observe(network, step=step))
    assert [one.entered.get("shrink") for one in told] == [*[None, None, 2, 2], *[None] * 4, 8, 8]
    assert [one.step for one in told if one.is_new] == [3, 9]


@pytest.mark.parametrize("settings", [{}, {"prompts": ["Dear ", "The same to "], "samples": 5}])
def test_a_model_that_does_not_learn_gives_no_finding(settings, made):
    network, monitor = unigram(BASE), made(**settings)
    monitor.start(network)
    told = [monitor.observe(network, step=step) for step in range(1, 31)]
    assert not any(one.shown or one.entered for one in told)
    assert len({one.values["probe.loss"] for one in told}) == 30  # fresh random numbers each time


def test_a_model_that_says_little_by_itself_gives_none(made):
    """Answers out of three tokens: nearly every 4-gram stood in the probes before."""
    network, monitor = unigram(uniform([65, 66, 67], 0.05)), made(held_out=None)
    start = monitor.start(network)
    assert start.values["base_samples.overlap"] > 0.5
    assert not any(monitor.observe(network, step=step).shown for step in range(1, 31))


def test_a_model_that_loops_now_and_then_by_itself_loops_only_where_it_does_so_more(made):
    network, monitor = unigram({65: 0.5, 66: 0.38, EOS: 0.12}), made(held_out=None)
    start = monitor.start(network)
    assert 0.2 < start.values["base_samples.degenerate_share"] < 0.5
    assert not start.broken_at_start
    told = [monitor.observe(network, step=step) for step in range(1, 31)]
    assert not any("loop" in one.entered for one in told)
    assert any(one.values["probe.degenerate_share"] >= 0.5 for one in told)
    becomes(network, STATES["loop"][0])
    assert monitor.observe(network, step=31).shown
    assert monitor.observe(network, step=32).entered["loop"] == 31


def test_a_model_that_is_certain_of_its_answers_is_not_broken(made):
    network, monitor = unigram({65: 0.0005, EOS: 0.9995}), made(held_out=None)
    assert not monitor.start(network).broken_at_start
    assert not any(monitor.observe(network, step=step).shown for step in (1, 2, 3))


def test_a_real_network_that_does_not_learn_gives_none_either(made):
    network, monitor = tiny_llama(), made(held_out_tokens=128)
    told = [monitor.observe(network, step=step) for step in range(12)]
    assert not any(one.shown for one in told)


def test_probes_depend_on_seed_and_step_alone(made):
    network = unigram(BASE)
    one, other, third = made(held_out=None), made(held_out=None), made(held_out=None, seed=1)
    for monitor in (one, other, third):
        monitor.start(network)
    first = one.observe(network, step=7).values["probe.loss"]
    other.observe(network, step=3)
    assert other.observe(network, step=7).values["probe.loss"] == first
    assert third.observe(network, step=7).values["probe.loss"] != first


def test_a_model_that_is_broken_is_told_so_at_once(made, caplog):
    broken, monitor = unigram(STATES["loop"][0]), made(on_collapse="stop")
    with caplog.at_level(logging.INFO, "collapse_lm.monitor"):
        found = monitor.start(broken)
    assert found.broken_at_start
    assert found.shown == ("loop",)
    assert "broken at the start: 98 % of the samples" in found.message
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]
    for step in (1, 2, 3):  # training brought none of this about
        found = monitor.observe(broken, step=step)
        assert found.broken_at_start
        assert not found.should_stop
        assert not found.is_new
    becomes(broken, BASE)
    assert [monitor.observe(broken, step=step).broken_at_start for step in (4, 5)] == [True, False]
    becomes(broken, STATES["loop"][0])  # now it is
    assert [monitor.observe(broken, step=step).should_stop for step in (6, 7)] == [False, True]


def test_a_fallen_model_was_not_broken_at_the_start(made):
    network, monitor = unigram(BASE), made(held_out=None)
    monitor.start(network)
    becomes(network, STATES["loop"][0])
    assert not any(monitor.observe(network, step=step).broken_at_start for step in range(1, 6))


def test_what_follows_is_what_was_asked_for(made):
    called = []
    asked = {"warn": "warn", "stop": "stop", "call": called.append}
    for word, on_collapse in asked.items():
        network, monitor = unigram(BASE), made(on_collapse=on_collapse, held_out_tokens=128)
        monitor.start(network)
        becomes(network, STATES["shrink"][0])
        found = [monitor.observe(network, step=step) for step in (10, 20, 30)]
        assert [one.should_stop for one in found] == (
            [False, True, True] if word == "stop" else [False] * 3
        )
    assert [(one.step, dict(one.entered)) for one in called] == [
        (20, {"drift": 10, "mode": 10, "shrink": 10})
    ]


@pytest.mark.parametrize("stops", [True, False])
def test_rollouts_stop_a_training_where_they_may(stops, made):
    monitor = made(on_collapse="stop", stop_by_rollouts=stops)
    for step in range(1, 7):
        monitor.observe_texts([f"one {step} of {n} words that differ" for n in range(8)], step)
    found = [monitor.observe_texts(["again and " * 30] * 8, step) for step in range(7, 12)]
    assert found[-1].entered
    assert any(one.should_stop for one in found) is stops


def test_when_the_next_look_is_due_is_told_where_the_budget_decides(made, caplog):
    with caplog.at_level(logging.INFO, "collapse_lm.monitor"):
        made(held_out=None).start(unigram(BASE))
        made(held_out=None, every=4).start(unigram(BASE))
    told = [r.message for r in caplog.records if r.message.startswith("the next look is due in")]
    (line,) = told
    assert re.fullmatch(r"the next look is due in about \d+ (seconds|minutes), by the .*", line)
    assert "budget of 5 %" in line


def test_a_warning_is_logged_once_for_a_sign_and_once_for_a_verdict(made, caplog):
    network, monitor = unigram(BASE), made(held_out=None)
    with caplog.at_level(logging.INFO, "collapse_lm.monitor"):
        monitor.start(network)
        becomes(network, STATES["shrink"][0])
        for step in range(1, 6):
            monitor.observe(network, step=step)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "INFO", "INFO", "WARNING", "WARNING", "INFO", "INFO", "INFO"]
    assert "measuring the baseline (48 samples of up to" in caplog.records[0].message
    assert "a first sign of shrink" in caplog.records[3].message


def test_the_rule_is_a_setting(made):
    network, monitor = unigram(BASE), made(held_out=None, rule=CollapseRule(patience=1))
    monitor.start(network)
    becomes(network, STATES["shrink"][0])
    assert monitor.observe(network, step=1).entered == {"mode": 1, "shrink": 1}


def test_numbers_agree_with_their_definitions(made):
    network, monitor = unigram(BASE), made(max_new_tokens=100)
    monitor.start(network)
    after = STATES["noise"][0]
    becomes(network, after)
    values = monitor.observe(network, step=1).values
    entropy = -sum(p * np.log(p) for p in after.values())
    assert values["probe.entropy"] == pytest.approx(entropy, abs=1e-3)
    kl = sum(p * np.log(p / after[token]) for token, p in BASE.items())
    assert values["prefix.kl"] == pytest.approx(kl, abs=1e-3)
    text = monitor._watched._held_out.data
    scored = torch.cat([text.targets_of(window) for window in text.windows]).tolist()
    change = np.mean([np.log(BASE[t] / after[t]) for t in scored])
    assert values["validation.change[held_out]"] == pytest.approx(change, abs=1e-3)
    lengths = [len(t.ids) for t in monitor._record._rows._texts["probe"]]
    assert values["probe.length"] == np.mean(lengths)
    assert values["probe.clipped"] == np.mean([length == 100 for length in lengths])


# --- rollouts ----------------------------------------------------------------------------------

WORDS = [*"abcdefghijklmnopqrstuvwxyz"]


def healthy(step, count=6, words=40):
    numbers = random.Random(step)
    return [" ".join(numbers.choices(WORDS, k=words)) for _ in range(count)]


FALLS = {
    "loop": lambda step: ["again and again " * 15] * 6,
    "mode": lambda step: healthy(3),
    "shrink": lambda step: ["yes", "no", "I do"] * 2,
}


@pytest.mark.parametrize("name", FALLS)
@pytest.mark.parametrize("form", ["words", "tokens", "ids"])
def test_rollouts_show_states_by_their_texts_alone(name, form, tmp_path):
    tokenizer = byte_tokenizer()
    monitor = Monitor(
        tokenizer if form == "tokens" else None, out=tmp_path / "m", on_collapse="stop"
    )
    found = []
    for step in range(1, 16):
        texts = healthy(step) if step < 10 else FALLS[name](step)
        if form == "ids":
            texts = [tokenizer(text)["input_ids"] for text in texts]
        found.append(monitor.observe_texts(texts, step))
    assert not any(one.shown for one in found[:9])
    assert found[9].shown or name != "loop"
    entered = found[-1].entered
    assert name in entered
    assert 10 <= entered[name] <= {"loop": 10, "mode": 13, "shrink": 14}[name]
    assert found[-1].should_stop
    assert name in found[-1].message


def test_healthy_rollouts_show_nothing(tmp_path):
    monitor = Monitor(out=tmp_path / "m")
    found = [monitor.observe_texts(healthy(step), step) for step in range(40)]
    assert not any(one.shown for one in found)


def test_rollouts_that_share_their_words_are_no_mode(tmp_path):
    """What the first ones have in common is no collapse later."""
    monitor = Monitor(out=tmp_path / "m")
    start = "Let us think step by step . The answer to the question is , as was said before : "
    texts = ([start * 2 + text for text in healthy(step, words=12)] for step in range(30))
    assert not any(monitor.observe_texts(one, step).shown for step, one in enumerate(texts))


def test_rollouts_that_are_degenerate_from_the_first_step_are_broken_at_the_start(tmp_path):
    monitor = Monitor(out=tmp_path / "m", on_collapse="stop")
    found = [monitor.observe_texts(["! " * 60] * 4, step) for step in range(4)]
    assert all(one.broken_at_start for one in found)
    assert not any(one.should_stop or one.is_new for one in found)


def test_rollouts_tell_loss_and_what_was_clipped(tmp_path):
    monitor = Monitor(out=tmp_path / "m")
    found = monitor.observe_texts(
        [[1, 2, 3], torch.tensor([4, 5]), []],
        1,
        log_probs=[[-1.0, -2.0, -3.0], torch.tensor([-1.0, -1.0]), []],
        clipped=[True, False, False],
    )
    assert found.values["rollouts.loss"] == pytest.approx(8 / 5)
    assert found.values["rollouts.clipped"] == pytest.approx(1 / 3)
    assert found.values["rollouts.length"] == pytest.approx(5 / 3)
    assert monitor.latest["collapse/rollouts.loss"] == pytest.approx(8 / 5)
    assert monitor.latest["collapse/rollouts/state/loop"] == 0.0


@pytest.mark.parametrize(
    ("given", "more", "told"),
    [
        ("one text", {}, "several texts"),
        ([], {}, "several texts"),
        ([1.5], {}, "whole numbers"),
        (["a"], {"log_probs": []}, "0 of 1 texts"),
        (["a"], {"log_probs": [["x"]]}, "a row of numbers"),
        (["a"], {"clipped": [True, False]}, "2 of 1 texts"),
    ],
)
def test_texts_that_are_none_are_told(given, more, told, tmp_path):
    monitor = Monitor(out=tmp_path / "m")
    with pytest.raises(UserError, match=told):
        monitor.observe_texts(given, 1, **more)
    assert not (tmp_path / "m").exists()


def test_without_a_tokenizer_words_are_tokens():
    ids = token_ids("It is, is it not?", None)
    assert len(ids) == 7
    assert ids[1] == ids[3]
    assert max(ids) < 10**9


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"samples": 0}, "samples"),
        ({"temprature": 1}, "did you mean temperature"),
        ({"budget": 2}, "budget"),
        ({"every": 0}, "every"),
        ({"on_collapse": "halt"}, "on_collapse"),
        ({"held_out": "words.txt"}, "did you mean text:words.txt"),
        ({"held_out": "nowhere"}, "nowhere"),
        ({"held_out": [" "]}, "without a word"),
    ],
)
def test_a_setting_that_does_not_fit_is_told_at_once(settings, told):
    with pytest.raises(UserError, match=told):
        Monitor(**settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_new_tokens": 500}, "max_new_tokens=128"),
        ({"prompts": [[{"role": "user", "content": "hi"}]]}, "chat template"),
    ],
)
def test_what_does_not_fit_the_model_is_told_before_anything_is_written(settings, told, made):
    monitor = made(**settings)
    with pytest.raises(UserError, match=told):
        monitor.start(tiny_gpt2())
    assert not monitor.path.exists()


def test_a_model_without_a_tokenizer_is_told(tmp_path):
    with pytest.raises(UserError, match="no tokenizer"):
        Monitor(out=tmp_path / "m").start(tiny_gpt2())
    with pytest.raises(UserError, match="causal language model"):
        Monitor(byte_tokenizer(), out=tmp_path / "m").start(torch.nn.Linear(2, 2))


def packed():
    return torch.ao.quantization.quantize_dynamic(tiny_llama(), {torch.nn.Linear})


def without_weights():
    with torch.device("meta"):
        return type(tiny_gpt2())(tiny_gpt2().config)


def without_numbers():
    network = tiny_llama()
    with torch.no_grad():
        network.lm_head.weight[3] = math.nan
    return network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("network", "told"),
    [
        (without_weights, "weights on the device meta"),
        (packed, "weights that torch has packed for inference"),
        (without_numbers, r"weight with numbers that are infinite, or none"),
    ],
)
def test_a_model_whose_weights_cannot_be_read_is_told(network, told, made):
    monitor = made()
    with pytest.raises(UserError, match=told):
        monitor.start(network())
    assert not monitor.path.exists()


def test_a_model_that_has_lost_its_numbers_is_told_so_and_is_not_kept(made):
    network, monitor = tiny_llama(), made(keep_healthy=True, stop_at_eos=False, rule=NEVER)
    monitor.start(network)
    assert "no finite numbers" not in monitor.observe(network, step=1).message
    with torch.no_grad():
        network.lm_head.weight[3] = math.nan
    assert "its losses are no finite numbers" in monitor.observe(network, step=2).message
    assert (monitor.path / "healthy" / "step-1").is_dir()


def test_a_sample_ends_where_the_model_s_own_generation_does(made):
    """A chat model ends its answers with another token than its documents."""
    network, monitor = unigram(uniform([65, 66, 67, 68, 10], EOS / 1e6)), made(held_out=None)
    network.generation_config.eos_token_id = [EOS, 10, 10**6]
    start = monitor.start(network)
    assert 3 < start.values["base_samples.length"] < 8
    assert start.values["probe.clipped"] < 0.2
    assert not start.broken_at_start


def test_what_was_begun_in_inference_mode_goes_on_without(made):
    network, monitor = tiny_llama(), made()
    with torch.inference_mode():
        monitor.start(network)
    ids = torch.tensor([[1, 2, 3]])
    network(input_ids=ids, labels=ids).loss.backward()
    assert monitor.observe(network, step=1).step == 1


def test_conversations_are_spelled_by_the_chat_template(made):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    monitor = made(tokenizer, prompts=[[{"role": "user", "content": "hi"}], "plain"], held_out=None)
    monitor.start(tiny_gpt2())
    (first, second) = monitor._watched.manifest(0)["prompts"]
    assert tokenizer.decode(first) == "<user>hi<assistant>"
    assert tokenizer.decode(second) == "plain"


def test_held_out_text_may_be_ones_own_or_none(made, prose_file):
    network = tiny_gpt2()
    own = made(held_out=[PROSE] * 3).start(network).values
    named = made(held_out=f"text:{prose_file}").start(network).values
    none = made(held_out=None).start(network).values
    (loss,) = [value for name, value in named.items() if name.startswith("validation.loss")]
    assert own["validation.loss[held_out]"] == pytest.approx(loss, rel=0.05)
    assert not any(name.startswith(("validation", "prefix")) for name in none)


# --- models ------------------------------------------------------------------------------------


def adapted():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=4, task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True
    )
    return peft.get_peft_model(tiny_gpt2(), config)


def test_wrappers_are_taken_off():
    network = tiny_gpt2()
    assert unwrapped(torch.nn.DataParallel(network)) is network
    assert unwrapped(torch.compile(torch.nn.DataParallel(torch.compile(network)))) is network
    model = adapted()
    assert unwrapped(torch.nn.DataParallel(model)) is model


MODELS = {
    "gpt2": tiny_gpt2,
    "llama": tiny_llama,
    "wrapped": lambda: torch.nn.DataParallel(tiny_gpt2()),
    "compiled": lambda: torch.compile(tiny_gpt2()),
    "adapters": adapted,
    "bfloat16": lambda: tiny_gpt2().to(torch.bfloat16),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_model_is_read_as_it_is_now(name, made):
    model, monitor = MODELS[name](), made(**QUICK)
    monitor.start(model)
    before = monitor.observe(model, step=1).values
    assert before["prefix.kl"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    after = monitor.observe(model, step=2).values
    assert after["prefix.kl"] > 1e-3


def test_adapters_are_seen(made):
    model, monitor = adapted(), made(**QUICK)
    monitor.start(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(1.0)
    values = monitor.observe(model, step=1).values
    ids = monitor._watched._held_out.data.ids[:65]
    loss = model(input_ids=ids[None, :-1], labels=ids[None, :-1]).loss
    assert values["validation.change[held_out]"] != 0
    assert torch.isfinite(loss)


def test_ids_past_the_tokenizer_are_not_drawn(made):
    network = unigram(uniform([65], 0.01))
    network.resize_token_embeddings(300, mean_resizing=False)
    with torch.no_grad():
        network.lm_head.weight[257:, 0] = 50.0  # far likelier than any token
    monitor = made(held_out=None)
    monitor.start(network)
    monitor.observe(network, step=1)
    drawn = {t for text in monitor._record._rows._texts["probe"] for t in text.ids}
    assert drawn <= {65, EOS}


# --- manners -----------------------------------------------------------------------------------


def randomness():
    return [
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
    ]


def flags(model):
    modules = list(model.modules())
    return {
        "modes": [m.training for m in modules],
        "gradients": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "wanted": [p.requires_grad for p in model.parameters()],
        "weights": [p.tolist() for p in model.parameters()],
        "buffers": [id(b) for b in model.buffers()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in modules
        ],
        "own": [sorted(vars(m)) for m in modules],
        "checkpointing": [getattr(m, "gradient_checkpointing", None) for m in modules],
        "cache": model.config.use_cache,
        "config": model.config.to_dict(),
        "generation": model.generation_config.to_dict(),
        "threads": torch.get_num_threads(),
        "autocast": torch.is_autocast_cache_enabled(),
    }


@pytest.mark.parametrize("name", ["gpt2", "llama", "adapters"])
def test_a_model_and_all_that_is_global_are_left_as_found(name, made):
    model = MODELS[name]()
    model.train()
    model.config.use_cache = False
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    list(model.modules())[5].eval()
    if name != "adapters":
        next(model.parameters()).requires_grad_(False)
    model.register_forward_hook(lambda module, inputs, output: None)
    ids = torch.arange(20)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    monitor, before = made(**QUICK), (randomness(), flags(model))
    monitor.start(model)
    for step in (1, 2):
        monitor.observe(model, step=step)
        assert (randomness(), flags(model)) == before


@pytest.mark.parametrize("name", ["gpt2", "adapters"])
def test_training_goes_on_as_if_nobody_watched(name, made):
    model = MODELS[name]()
    alone = copy.deepcopy(model)
    monitor, losses = made(**QUICK, keep_healthy=True), {}
    for one in (model, alone):
        torch.manual_seed(0)
        one.train()
        optimizer, found = torch.optim.AdamW(one.parameters(), lr=1e-2), []
        for step in range(4):
            ids = torch.randint(250, (2, 16))
            loss = one(input_ids=ids, labels=ids).loss
            loss.backward()
            if one is model:
                monitor.observe(model, step=step)
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.item())
        losses[one is model] = found
    assert losses[True] == losses[False]


def test_what_a_trainer_puts_on_a_model_is_off_while_it_is_read():
    pytest.importorskip("trl")
    from accelerate.utils import convert_outputs_to_fp32
    from trl.trainer.utils import add_fused_lm_head

    network = tiny_gpt2(TOKENS)
    add_fused_lm_head(network)
    network.enable_input_require_grads()
    network._original_forward = network.forward
    network.forward = MethodType(convert_outputs_to_fp32(type(network).forward), network)
    before = network.forward, [*network.get_input_embeddings()._forward_hooks.values()]
    assert not is_as_configured(network)
    with left_as_found(network):
        assert is_as_configured(network)
    assert (network.forward, [*network.get_input_embeddings()._forward_hooks.values()]) == before


def test_a_forward_that_somebody_else_put_there_stays():
    network = tiny_gpt2(TOKENS)
    network.forward = lambda *_, **__: None
    with left_as_found(network):
        assert not is_as_configured(network)


def test_a_script_without_logging_hears_a_monitor_and_one_with_it_has_its_own(monkeypatch, capsys):
    logger = logging.Logger("alone")
    monkeypatch.setattr(voice, "_LOG", logger)
    monkeypatch.setattr(voice, "_is_alone", lambda record: True)
    for _ in range(2):
        voice.be_heard()
    logger.info("baseline")
    logger.debug("rollouts")
    assert capsys.readouterr().err == "collapse monitor: baseline\n"
    monkeypatch.undo()
    assert not voice._is_alone(None)  # pytest has set up logging


def test_within_autocast_gradients_still_flow(made):
    model, monitor = tiny_gpt2().train(), made(**QUICK)
    ids = torch.arange(20)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        monitor.start(model)
        model(input_ids=ids, labels=ids).loss.backward()
        monitor.observe(model, step=1)
        model(input_ids=ids, labels=ids).loss.backward()


def test_memory_is_flat(made):
    model, monitor = tiny_gpt2().train(), made(**QUICK)

    def tensors():
        gc.collect()
        return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())

    counts = []
    for step in range(52):
        monitor.observe(model, step=step)
        if step in (1, 51):
            counts.append(tensors())
    assert counts[0] == counts[1]


# --- pace --------------------------------------------------------------------------------------


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_probe_is_due_when_it_fits_the_budget():
    clock = FakeClock()
    pace = Pace("auto", 0.05, clock)
    with pace.counting():
        clock.now += 4  # the baseline
        pace.expect(2.0)
    due = []
    for step in range(1, 1001):  # of one second each
        clock.now += 1
        if pace.is_due(step):
            due.append(step)
            with pace.probing():
                clock.now += 2
        assert pace.share <= 0.05 or not due
    # Four seconds of baseline and two of a probe are a twentieth of 120 seconds.
    assert due[0] == 116
    assert due[1] - due[0] == pytest.approx(38, abs=1)
    assert pace.spent == 4 + 2 * len(due)


def test_a_probe_that_grows_longer_comes_less_often():
    clock = FakeClock()
    pace = Pace("auto", 0.1, clock)
    with pace.counting():
        pace.expect(1.0)
    gaps, last, length = [], 0, 1
    for step in range(1, 2000):
        clock.now += 1
        if pace.is_due(step):
            gaps.append(step - last)
            last, length = step, length * 2
            with pace.probing(), pace.counting():
                clock.now += length
    assert gaps == sorted(gaps)
    assert pace.share <= 0.2


def test_every_so_many_steps_ignores_the_budget():
    pace = Pace(3, 0.01, FakeClock())
    assert [step for step in range(10) if pace.is_due(step)] == [0, 3, 6, 9]


def test_a_monitor_is_due_until_it_has_a_baseline(made):
    network, monitor = unigram(BASE), made(held_out=None, budget=1e-9)
    assert monitor.is_due(1)
    monitor.start(network)
    assert not monitor.is_due(2)
    assert 0 < monitor.latest["collapse/seconds_share"] <= 1


# --- imports -----------------------------------------------------------------------------------


def test_it_needs_transformers_alone():
    code = (
        "import sys\n"
        "for name in ('trl', 'peft', 'trackio', 'wandb', 'datasets', 'accelerate'):\n"
        "    sys.modules[name] = None\n"
        "from collapse_lm.monitor import Finding, Monitor, MONITOR_RULE\n"
        "from collapse_lm.monitor.held_out import corpus_of\n"
        "assert 20_000 < len(corpus_of('auto').text.encode()) < 40_000\n"
        "assert Monitor().observe_texts(['a b c d e'], 1).values['rollouts.length'] == 5\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/tmp"
    )
    assert done.returncode == 0, done.stderr
