"""The loop on a tiny model: what it yields, when it ends, what it leaves alone."""

from dataclasses import replace

import pytest
import torch

from collapse_lm.config import SamplingConfig, TrainingConfig
from collapse_lm.experiment.learner import Segment, Step, make_optimizer, train_step
from collapse_lm.experiment.sources import OwnSamples
from collapse_lm.inference import inference_network
from collapse_lm.loop import Experiment, RunState, self_train
from collapse_lm.machine.compute import Compute
from collapse_lm.measures import CollapseRule, Observation
from collapse_lm.measures.validation import CorpusLoss

from conftest import tiny_gpt2

NEVER = CollapseRule(loop_share=1.0, seq_rep_4=1.0, train_loss=0.0)
ALWAYS = CollapseRule(train_loss=1e9, patience=3)


class WholeSamples:
    """The learner of the paper, without configuration."""

    def __init__(self, learning_rate=3e-3):
        self.learning_rate = learning_rate

    def learn(self, state, draw, update):
        segments = [Segment(draw.prompt, ids) for ids in draw.samples]
        compute = Compute(torch.device("cpu"), "float32")
        step = train_step(state.network, state.optimizer, segments, compute, 1.0)
        state.working.refresh()
        return step


def new_state(precision="float32"):
    network = tiny_gpt2()
    optimizer = make_optimizer(network, TrainingConfig(learning_rate=3e-3))
    return RunState(network, inference_network(network, precision), optimizer)


def experiment(**changes):
    sampling = SamplingConfig(max_new_tokens=30)
    base = Experiment(
        source=OwnSamples(sampling, [256], 256, seed=0),
        learner=WholeSamples(),
        evaluate=lambda network: {},
        decode=lambda samples: ["text" for _ in samples],
        rule=NEVER,
        max_updates=4,
    )
    return replace(base, **changes)


def numbers(records):
    return [(r.update, r.train_loss, r.samples) for r in records]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_experiment_twice_gives_the_same_records(precision):
    runs = [numbers(self_train(new_state(precision), experiment())) for _ in range(2)]
    assert runs[0] == runs[1]
    assert [update for update, _, _ in runs[0]] == [0, 1, 2, 3, 4]


def test_a_state_goes_on_where_it_stands():
    whole = numbers(self_train(new_state(), experiment()))
    state = new_state()
    first = numbers(self_train(state, experiment(max_updates=2)))
    second = numbers(self_train(state, experiment()))
    assert first + second == whole


def test_train_loss_is_that_of_the_model_before_the_update():
    state = new_state()
    records = self_train(state, experiment(max_updates=1))
    next(records)
    before = tiny_gpt2()
    record = next(records)
    ids = torch.tensor([[*record.prompt, *record.samples[0]]])
    with torch.no_grad():
        log_p = before(ids).logits[0, :-1].log_softmax(-1)
    expected = -log_p.gather(-1, ids[0, 1:, None]).mean().item()
    assert record.train_loss == pytest.approx(expected, rel=1e-5)


def test_the_run_ends_when_the_rule_is_met():
    updates = [r.update for r in self_train(new_state(), experiment(rule=ALWAYS, max_updates=9))]
    assert updates[-1] == ALWAYS.patience


def test_the_aftermath_goes_on_but_not_past_max_updates():
    def last(**changes):
        *_, record = self_train(new_state(), experiment(rule=ALWAYS, **changes))
        return record.update

    assert last(max_updates=9, stop_after_collapse=2) == 5
    assert last(max_updates=4, stop_after_collapse=2) == 4
    assert last(max_updates=6, stop_after_collapse=None) == 6


def test_earlier_observations_count_towards_the_rule():
    state = new_state()
    list(self_train(state, experiment(max_updates=2)))
    earlier = [Observation(u, 0.0, 0.0, 1.0) for u in (1, 2)]
    records = list(self_train(state, experiment(rule=ALWAYS, max_updates=9), earlier))
    assert [record.update for record in records] == [3]


def test_evaluation_happens_at_the_start_when_due_and_at_the_end():
    loss = CorpusLoss(1.0, 2.0, 3.0, 4.0, 5)
    changes = {"evaluate": lambda network: {"text": loss}, "evaluate_every": 2, "max_updates": 5}
    records = list(self_train(new_state(), experiment(**changes)))
    assert [r.update for r in records if r.validation] == [0, 2, 4, 5]
    assert records[0].validation["text"]["bits_per_byte"] == 3.0


class Diverging(WholeSamples):
    def learn(self, state, draw, update):
        return Step(float("nan"), float("nan"), applied=False)


def test_a_step_that_is_not_finite_ends_the_run_with_its_row():
    records = list(self_train(new_state(), experiment(learner=Diverging())))
    assert [(r.update, r.applied) for r in records] == [(0, True), (1, False)]
