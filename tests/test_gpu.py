"""The same code on a GPU: samples, losses and steps agree with the CPU's in float32."""

import pytest
import torch

from collapse_lm import rng
from collapse_lm.experiment.learner import train_step
from collapse_lm.experiment.optimizer import make_optimizer
from collapse_lm.experiment.segments import Segment
from collapse_lm.inference import inference_network
from collapse_lm.machine.compute import Compute
from collapse_lm.sampling import Drafter, Filters, sample

from conftest import tiny_gpt2, tiny_llama

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(params=[tiny_gpt2, tiny_llama])
def masters(request):
    return request.param().double(), request.param().double().cuda()


@pytest.mark.parametrize("drafter", [None, Drafter(7)])
def test_samples_are_those_of_the_cpu(masters, drafter):
    uniforms = rng.uniforms(rng.stream(0, "sample"), 2, 40)
    draws = [
        sample(inference_network(m, "float32"), [256], uniforms, Filters(0.8, 20), drafter=drafter)
        for m in masters
    ]
    assert draws[0].samples == draws[1].samples


def test_a_step_is_that_of_the_cpu(masters):
    steps = []
    for master in masters:
        optimizer = make_optimizer(master, 1e-3, 0.1)
        compute = Compute(master.device, "float32")
        steps.append(train_step(master, optimizer, [Segment((256,), (1, 2, 3))], compute, 1.0))
    assert steps[0].loss == pytest.approx(steps[1].loss, rel=1e-6)
    assert steps[0].grad_norm == pytest.approx(steps[1].grad_norm, rel=1e-5)


def test_bfloat16_copies_follow_the_master_in_place(masters):
    master = masters[1].float()
    network = inference_network(master, "bfloat16")
    with torch.no_grad():
        for parameter in master.parameters():
            parameter.mul_(1.1)
    network.refresh()
    ids = torch.arange(20, device="cuda")[None]
    fresh = inference_network(master, "bfloat16")
    assert torch.equal(network.logits(network.hidden(ids)[0]), fresh.logits(fresh.hidden(ids)[0]))
    uniforms = rng.uniforms(rng.stream(0, "sample"), 2, 20)
    draw = sample(network, [256], uniforms, Filters(0.8, 20), drafter=Drafter(7))
    assert [len(ids) for ids in draw.samples] == [20, 20]
    assert [len(values) for values in draw.log_probs] == [20, 20]
