"""A step that reads the sampler's copy is the step under autocast, bit for bit."""

import copy

import pytest
import torch

from collapse_lm.experiment.learner import Asked, train_step
from collapse_lm.experiment.lent import lent
from collapse_lm.experiment.objectives import NegativeLogLikelihood
from collapse_lm.experiment.optimizer import make_optimizer
from collapse_lm.experiment.segments import Segment
from collapse_lm.inference import inference_network
from collapse_lm.machine.compute import Compute

from conftest import tiny_gpt2, tiny_llama

HALF = Compute(torch.device("cpu"), "bfloat16")


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
@pytest.mark.parametrize("tokens", [40, 100])
def test_a_step_is_bit_for_bit_that_of_autocast(make, tokens, monkeypatch):
    monkeypatch.setattr("collapse_lm.experiment.learner._CHUNK", 64)  # both ways of the loss
    ours, plain = make(), make()
    copies = inference_network(ours, "bfloat16").copies()
    segments = [Segment((256,), tuple(range(tokens))), Segment((256,), tuple(range(9, 9 + tokens)))]
    asked = Asked(NegativeLogLikelihood(), copies=copies)
    taken = train_step(ours, make_optimizer(ours, 1e-2, 0.1), segments, HALF, 1.0, asked)
    assert taken == train_step(plain, make_optimizer(plain, 1e-2, 0.1), segments, HALF, 1.0)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
def test_every_linear_layer_borrows_and_gives_back(make):
    network = make()
    before = dict(network.named_parameters())
    copies = inference_network(network, "bfloat16").copies()
    layers = [m for m in network.modules() if type(m).__name__ in ("Linear", "Conv1D")]
    with lent(network, copies):
        assert all(layer.weight.dtype == torch.bfloat16 for layer in layers)
    after = dict(network.named_parameters())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)


def test_weights_are_given_back_where_a_pass_fails():
    network = tiny_gpt2()
    copies = inference_network(network, "bfloat16").copies()
    with pytest.raises(RuntimeError, match="told to"), lent(network, copies):
        raise RuntimeError("told to")
    assert network.lm_head.weight.dtype == torch.float32


def test_without_copies_nothing_is_borrowed():
    network = tiny_gpt2()
    assert inference_network(copy.deepcopy(network), "float32").copies() == {}
    with lent(network, {}):
        assert network.lm_head.weight.dtype == torch.float32
