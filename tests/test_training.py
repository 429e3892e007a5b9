"""The step equals torch's AdamW on a model written out by hand; windows are what they claim."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from collapse_lm import rng
from collapse_lm.config import TrainingConfig
from collapse_lm.config.parts import AdamW
from collapse_lm.experiment.learner import train_step
from collapse_lm.experiment.optimizer import make_optimizer
from collapse_lm.experiment.segments import Segment, choose_segment, retokenize
from collapse_lm.inference import head_is_plain
from collapse_lm.machine.compute import Compute

from conftest import byte_tokenizer, tiny_gpt2

CPU32 = Compute(torch.device("cpu"), "float32")


def optimizer_of(network, config):
    """The optimizer that a run with this configuration makes."""
    return make_optimizer(network, config.learning_rate, config.weight_decay, config.optimizer)


class Bigram(nn.Module):
    """Logits of the next token from the last token alone: small enough to write out."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        values = torch.randn(5, 5, generator=rng.stream(0, "init"), dtype=torch.float64)
        self.table = nn.Parameter(values)
        self.bias = nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))

    def forward(self, input_ids, use_cache=False, logits_to_keep=0):
        return SimpleNamespace(logits=(self.table[input_ids] + self.bias)[:, -logits_to_keep:])


class DeafBigram(Bigram):
    """Some families of transformers take `logits_to_keep` and do nothing with it."""

    def forward(self, input_ids, **_):
        return SimpleNamespace(logits=self.table[input_ids] + self.bias)


def hand_written_steps(segments_by_step, config, steps_clip):
    """AdamW by its formula (Loshchilov and Hutter 2019, algorithm 2), gradients by autograd."""
    model = Bigram()
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]
    norms = []
    for t, segments in enumerate(segments_by_step, start=1):
        losses = []
        for context, targets in segments:
            ids = context + targets
            for i in range(len(context), len(ids)):
                logits = model.table[ids[i - 1]] + model.bias
                losses.append(-torch.log_softmax(logits, 0)[ids[i]])
        loss = torch.stack(losses).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        norms.append((loss.item(), norm))
        scale = min(1.0, steps_clip / (norm + 1e-6))
        beta1, beta2 = config.optimizer.betas
        with torch.no_grad():
            for p, g, (m, v) in zip(model.parameters(), gradients, moments, strict=True):
                g = g * scale
                m.mul_(beta1).add_((1 - beta1) * g)
                v.mul_(beta2).add_((1 - beta2) * g * g)
                decay = config.weight_decay if p.dim() >= 2 else 0.0
                p.mul_(1 - config.learning_rate * decay)
                m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
                p.sub_(config.learning_rate * m_hat / (v_hat.sqrt() + 1e-8))
    return model, norms


@pytest.mark.parametrize(
    ("clip", "betas"), [(0.3, (0.9, 0.95)), (1.0, (0.9, 0.95)), (1.0, (0.5, 0.8))]
)
def test_steps_equal_adamw_written_by_hand(clip, betas):
    rule = AdamW(betas=betas)
    config = TrainingConfig(learning_rate=0.05, weight_decay=0.2, grad_clip=clip, optimizer=rule)
    batches = [
        [((4,), (0, 1, 2, 3, 3))],
        [((4,), (3, 3, 3)), ((4, 2), (1, 0, 1, 0))],
        [((0,), (0, 0, 0, 0))],
    ]
    expected, outcomes = hand_written_steps(batches, config, clip)
    model = Bigram()
    optimizer = optimizer_of(model, config)
    for batch, (loss, norm) in zip(batches, outcomes, strict=True):
        step = train_step(model, optimizer, [Segment(*s) for s in batch], CPU32, clip)
        assert step.loss == pytest.approx(loss, rel=1e-9)
        assert step.grad_norm == pytest.approx(norm, rel=1e-6)
    for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_decay_acts_on_tensors_of_two_dimensions_only():
    optimizer = optimizer_of(tiny_gpt2(), TrainingConfig(weight_decay=0.1))
    decayed, plain = optimizer.param_groups
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in plain["params"]} == {1}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def test_learning_rate_zero_changes_nothing():
    network = tiny_gpt2()
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = optimizer_of(network, TrainingConfig(learning_rate=0))
    assert train_step(network, optimizer, [Segment((256,), (1, 2, 3))], CPU32, 1.0).applied
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_never_reaches_the_weights():
    network = tiny_gpt2()
    with torch.no_grad():
        network.transformer.ln_f.weight[0] = math.inf
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = optimizer_of(network, TrainingConfig())
    assert not train_step(network, optimizer, [Segment((256,), (1, 2))], CPU32, 1.0).applied
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def loss_of(network, *segments):
    """Mean loss over the targets of segments, before a step."""
    optimizer = optimizer_of(network, TrainingConfig())
    return train_step(network, optimizer, segments, CPU32, 1.0).loss


def test_the_prompt_is_context_and_not_a_target():
    network = tiny_gpt2().double()
    ids = [256, 7, 8, 9, 10]
    with torch.no_grad():
        log_p = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = -sum(log_p[i - 1, ids[i]].item() for i in (3, 4)) / 2
    assert loss_of(network, Segment((256, 7, 8), (9, 10))) == pytest.approx(expected, rel=1e-6)


def test_a_batch_of_samples_weighs_every_token_alike():
    network = tiny_gpt2()
    segments = [Segment((256,), (1, 2, 3)), Segment((256,), (4,))]
    alone = [loss_of(tiny_gpt2(), segment) for segment in segments]
    mean = (3 * alone[0] + alone[1]) / 4
    assert loss_of(network, *segments) == pytest.approx(mean)


@pytest.mark.parametrize("clip", [None, 0.01])
def test_the_loss_in_chunks_is_the_loss_at_once(monkeypatch, clip):
    outcomes = []
    for chunk in (1000, 32):
        monkeypatch.setattr("collapse_lm.experiment.learner._CHUNK", chunk)
        network = tiny_gpt2().double()
        assert head_is_plain(network)
        optimizer = optimizer_of(network, TrainingConfig())
        segment = Segment((256, 9), tuple(range(100)))
        step = train_step(network, optimizer, [segment, Segment((3,), (4, 5))], CPU32, clip)
        outcomes.append((step, [p.detach() for p in network.parameters()]))
    (at_once, weights), (in_chunks, others) = outcomes
    assert in_chunks.loss == pytest.approx(at_once.loss, rel=1e-12)
    assert in_chunks.grad_norm == pytest.approx(at_once.grad_norm, rel=1e-9)
    for one, other in zip(weights, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_windows_are_uniform_and_see_one_token_before():
    prompt, ids = (99, 100), tuple(range(10))
    numbers = rng.stream(0, "window", 1)
    seen = set()
    for _ in range(200):
        segment = choose_segment(prompt, ids, 4, numbers)
        start = segment.targets[0]
        assert segment.targets == ids[start : start + 4]
        assert segment.context == ((100,) if start == 0 else (start - 1,))
        seen.add(start)
    assert seen == set(range(7))


@pytest.mark.parametrize(("window", "context"), [(None, (98, 99)), (10, (99,)), (11, (99,))])
def test_without_a_smaller_window_the_whole_sample_is_trained(window, context):
    ids = tuple(range(10))
    segment = choose_segment((98, 99), ids, window, rng.stream(0, "window", 1))
    assert segment == Segment(context, ids)


def test_retokenizing_spells_special_tokens_out():
    tokenizer = byte_tokenizer()
    ids = tokenizer("ab", add_special_tokens=False)["input_ids"]
    again = retokenize(tokenizer, [*ids, 256])
    assert tokenizer.decode(again) == "ab<|endoftext|>"
    assert 256 not in again


def test_logits_that_were_not_asked_for_are_left_out():
    segments = [Segment((0, 1, 2), (3, 4, 1)), Segment((2,), (0, 0))]
    taken = [
        train_step(network, optimizer_of(network, TrainingConfig()), segments, CPU32, 1.0)
        for network in (Bigram(), DeafBigram())
    ]
    assert taken[0] == taken[1]
