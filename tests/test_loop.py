"""The loop on a tiny model: what it yields, when it ends, what it leaves alone."""

import math
from dataclasses import replace

import pytest
import torch

from collapse_lm.config import SamplingConfig
from collapse_lm.experiment.learner import Step, train_step
from collapse_lm.experiment.models import Models
from collapse_lm.experiment.optimizer import make_optimizer
from collapse_lm.experiment.prompts import Prompts
from collapse_lm.experiment.segments import Segment
from collapse_lm.experiment.sources import OwnSamples, Sampling
from collapse_lm.inference import inference_network
from collapse_lm.loop import Experiment, RunState, self_train
from collapse_lm.machine.compute import Compute
from collapse_lm.measures import CollapseRule, Observation
from collapse_lm.measures.seen import Seen

from conftest import tiny_gpt2

NEVER = CollapseRule(loop_share=1.0, seq_rep_4=1.0, train_loss=0.0)
ALWAYS = CollapseRule(train_loss=1e9, patience=3)


class WholeSamples:
    """The learner of the paper, without configuration."""

    def __init__(self, models, learning_rate=3e-3):
        self.learning_rate = learning_rate
        self.optimizer = make_optimizer(models.trained, learning_rate, 0.1)

    def learn(self, models, batch, update):
        segments = [Segment(text.prompt, text.ids) for text in batch.texts]
        compute = Compute(torch.device("cpu"), "float32")
        step = train_step(models.trained, self.optimizer, segments, compute, 1.0)
        models.refresh()
        return replace(step, learning_rate=self.learning_rate)


class Measured:
    """A measure that notes which updates it was asked for, and with what."""

    def __init__(self, every):
        self.every = every
        self.asked = []

    def __call__(self, at, batch, probe):
        self.asked.append((at.update, len(batch.texts), probe is batch))
        return {"validation.loss[text]": 3.0}


def new_run(precision="float32", **changes):
    """A fresh state, and the experiment of the paper on it."""
    network = tiny_gpt2()

    def no_base():
        raise AssertionError("nobody asked for the base model")

    models = Models(network, inference_network(network, precision), no_base)
    sampling = Sampling(SamplingConfig(max_new_tokens=30), Prompts(((256,),), 0), 256, seed=0)
    experiment = Experiment(
        source=OwnSamples(sampling),
        learner=WholeSamples(models),
        decode=lambda samples: ["text" for _ in samples],
        rule=NEVER,
        max_updates=4,
    )
    return RunState(models), replace(experiment, **changes)


def records_of(precision="float32", **changes):
    return list(self_train(*new_run(precision, **changes)))


def numbers(records):
    found = []
    for record in records:
        values = record.row.values.items()
        untimed = {name: value for name, value in values if not name.startswith("seconds.")}
        found.append((record.update, untimed, record.batch.texts))
    return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_experiment_twice_gives_the_same_records(precision):
    runs = [numbers(records_of(precision)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert [update for update, _, _ in runs[0]] == [0, 1, 2, 3, 4]


def test_a_state_goes_on_where_it_stands():
    whole = numbers(records_of())
    state, experiment = new_run()
    seen = Seen(experiment.rule)
    first = numbers(self_train(state, replace(experiment, max_updates=2), seen))
    assert state.update == 2
    second = numbers(self_train(state, experiment, seen))
    assert first + second == whole


def test_the_record_holds_the_texts_that_were_drawn_decoded():
    base, first, *_ = records_of(max_updates=1)
    (text,) = first.batch.texts
    assert (text.prompt, len(text.ids), text.origin, text.text) == ((256,), 30, "own", "text")
    assert first.probe is first.batch
    assert not first.has_own_probe
    assert (base.batch.texts, base.probe.texts) == ((), ())


def test_train_loss_is_that_of_the_model_before_the_update():
    _, record = records_of(max_updates=1)
    (text,) = record.batch.texts
    ids = torch.tensor([[*text.prompt, *text.ids]])
    with torch.no_grad():
        log_p = tiny_gpt2()(ids).logits[0, :-1].log_softmax(-1)
    of_each = log_p.gather(-1, ids[0, 1:, None])[:, 0]
    assert record.row.get("train.loss") == pytest.approx(-of_each.mean().item(), rel=1e-5)
    assert text.log_probs == pytest.approx(of_each.tolist(), rel=1e-4, abs=1e-5)


def test_the_run_ends_when_the_rule_is_met():
    updates = [record.update for record in records_of(rule=ALWAYS, max_updates=9)]
    assert updates[-1] == ALWAYS.patience


def test_the_aftermath_goes_on_but_not_past_max_updates():
    def last(**changes):
        return records_of(rule=ALWAYS, **changes)[-1].update

    assert last(max_updates=9, stop_after_collapse=2) == 5
    assert last(max_updates=4, stop_after_collapse=2) == 4
    assert last(max_updates=6, stop_after_collapse=None) == 6


def test_earlier_observations_count_towards_the_rule():
    state, experiment = new_run(rule=ALWAYS, max_updates=9)
    list(self_train(state, replace(experiment, rule=NEVER, max_updates=2)))
    seen = Seen(ALWAYS)
    for update in (1, 2):
        seen.watch.take(Observation(update, 0.0, 0.0, 1.0))
    records = list(self_train(state, experiment, seen))
    assert [record.update for record in records] == [3]
    assert (seen.verdict.collapse_update, seen.verdict.met) == (1, 3)


def test_a_run_whose_rule_was_met_before_has_nothing_to_do():
    state, experiment = new_run(rule=ALWAYS, max_updates=9)
    list(self_train(state, experiment))
    seen = Seen(ALWAYS)
    for update in (1, 2, 3):
        seen.watch.take(Observation(update, 0.0, 0.0, 1.0))
    assert list(self_train(state, experiment, seen)) == []


def test_measures_are_asked_at_the_start_when_due_and_at_the_end():
    measure = Measured(every=2)
    records = records_of(measures=[measure], max_updates=5)
    assert [r.update for r in records if r.row.labelled("validation.loss")] == [0, 2, 4, 5]
    assert records[0].row.labelled("validation.loss") == {"text": 3.0}
    assert measure.asked == [(0, 0, False), (2, 1, True), (4, 1, True), (5, 1, True)]


def test_a_run_out_of_time_ends_with_its_update_measured():
    measure, asked = Measured(every=100), []

    def is_out_of_time():
        asked.append(True)
        return len(asked) == 2

    records = records_of(measures=[measure], is_out_of_time=is_out_of_time)
    assert [record.update for record in records] == [0, 1, 2]
    assert [update for update, *_ in measure.asked] == [0, 2]


class Diverging:
    learning_rate = 1.0

    def learn(self, models, batch, update):
        return Step(float("nan"), float("nan"), applied=False, steps=0)


def test_a_step_that_is_not_finite_ends_the_run_with_its_row():
    measure = Measured(every=100)
    records = records_of(learner=Diverging(), measures=[measure])
    told = [(r.update, r.row.values.get("train.applied")) for r in records]
    assert told == [(0, None), (1, 0)]
    assert math.isnan(records[1].row.values["train.loss"])
    assert [update for update, *_ in measure.asked] == [0, 1]
