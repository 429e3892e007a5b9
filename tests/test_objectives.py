"""Objectives: what a chunk holds, and that its size changes nothing."""

import copy

import pytest
import torch

from collapse_lm.config import TrainingConfig
from collapse_lm.experiment import learner
from collapse_lm.experiment.learner import Asked, train_step
from collapse_lm.experiment.optimizer import make_optimizer
from collapse_lm.experiment.segments import Segment
from collapse_lm.inference import inference_network
from collapse_lm.machine.compute import Compute

from conftest import tiny_gpt2

CPU32 = Compute(torch.device("cpu"), "float32")
TEXT = Segment((256, 9), tuple(range(100)))


class Unlikelihood:
    """-log p of each target, and -log(1 - p) of each token that stood before it (Welleck 2020)."""

    needs_base = False

    def __call__(self, chunk):
        log_p_TV = chunk.logits_TV.log_softmax(-1)
        total = chunk.nll
        for place, target in enumerate(chunk.targets_T):
            before = torch.cat([chunk.before_S, chunk.targets_T[:place]]).unique()
            before = before[before != target]
            total = total - torch.log1p(-log_p_TV[place, before].exp().clamp(max=0.999)).sum()
        return total


class ToTheBase:
    """KL to the base model; notes what it was given."""

    needs_base = True

    def __init__(self):
        self.seen = []

    def __call__(self, chunk):
        self.seen.append((chunk.update, len(chunk.before_S), len(chunk.targets_T)))
        own_TV, base_TV = chunk.logits_TV.log_softmax(-1), chunk.base_TV.log_softmax(-1)
        return (own_TV.exp() * (own_TV - base_TV)).sum() + chunk.nll


def stepped(objective, chunk, monkeypatch, base=None):
    monkeypatch.setattr(learner, "_CHUNK", chunk)
    network = tiny_gpt2().double()
    optimizer = make_optimizer(network, TrainingConfig().learning_rate, 0.1)
    step = train_step(network, optimizer, [TEXT], CPU32, 1.0, Asked(objective, 7, base))
    return step, [p.detach() for p in network.parameters()]


@pytest.mark.parametrize("kind", [Unlikelihood, ToTheBase])
def test_an_objective_in_chunks_is_the_objective_at_once(kind, monkeypatch):
    other = tiny_gpt2().double()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.9)
    base = inference_network(other, "float32") if kind is ToTheBase else None
    whole, weights = stepped(kind(), 1000, monkeypatch, base)
    parts, others = stepped(kind(), 32, monkeypatch, base)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-9)
    for one, another in zip(weights, others, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-9, atol=1e-9)


def test_the_recorded_loss_is_plain_whatever_the_objective(monkeypatch):
    plain, _ = stepped(learner.NegativeLogLikelihood(), 32, monkeypatch)
    other, _ = stepped(Unlikelihood(), 32, monkeypatch)
    assert other.loss == plain.loss
    assert other.grad_norm != plain.grad_norm


def test_chunks_cover_the_targets_in_order(monkeypatch):
    objective = ToTheBase()
    stepped(objective, 40, monkeypatch, inference_network(tiny_gpt2().double(), "float32"))
    assert objective.seen == [(7, 2, 40), (7, 42, 40), (7, 82, 20)]


def test_at_its_own_base_a_divergence_adds_nothing_to_the_gradient(monkeypatch):
    base = inference_network(copy.deepcopy(tiny_gpt2()).double(), "float32")
    plain, _ = stepped(learner.NegativeLogLikelihood(), 32, monkeypatch)
    near, _ = stepped(ToTheBase(), 32, monkeypatch, base)
    assert near.grad_norm == pytest.approx(plain.grad_norm, rel=1e-6)
