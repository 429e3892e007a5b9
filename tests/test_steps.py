"""Steps around another optimizer's, and schedules, against direct definitions."""

import itertools
import re
from pathlib import Path

import pytest
import torch
import yaml
from test_parts import numbers
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

import collapse_lm
from collapse_lm import rng
from collapse_lm.analysis.outcomes import measure_runs
from collapse_lm.analysis.runs import run_table
from collapse_lm.config import TrainingConfig, load_config
from collapse_lm.config.kinds.optimizer import AdamW, DecayToBase, Fresh, RandomDirection, Sgd
from collapse_lm.config.sections import ScheduleConfig
from collapse_lm.errors import UserError
from collapse_lm.experiment.optimizer import clip
from collapse_lm.experiment.schedule import factor
from collapse_lm.experiment.steps import begin_update
from collapse_lm.rundir import RunReader

RATE = 0.1


def weights():
    generator = rng.stream(0, "init")
    return [
        torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((3, 4), (5,))
    ]


def groups(parameters):
    return [
        {"params": parameters[:1], "weight_decay": 0.0},
        {"params": parameters[1:], "weight_decay": 0.0},
    ]


def steps(rule, updates, *, clip_at=None, per_update=1):
    """The parameters before and after each step on a gradient that differs from step to step."""
    parameters = weights()
    optimizer, found = (
        rule.build(groups(parameters), RATE),
        [[p.detach().clone() for p in parameters]],
    )
    for update in range(1, updates + 1):
        begin_update(optimizer, 7, update, None)
        for _ in range(per_update):
            for p in parameters:
                p.grad = torch.sin(p.detach() * update + len(found))
            norm = float(torch.nn.utils.get_total_norm([p.grad for p in parameters]))
            with clip(optimizer, norm, clip_at):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            found.append([p.detach().clone() for p in parameters])
    return found


@pytest.mark.parametrize("clip_at", [None, 0.5])
def test_a_random_step_is_as_long_per_tensor_and_points_elsewhere(clip_at):
    rule = Sgd()
    true, turned = (steps(r, 1, clip_at=clip_at) for r in (rule, RandomDirection(of=rule)))
    for before, after, other in zip(true[0], true[1], turned[1], strict=True):
        step, drawn = after - before, other - before
        torch.testing.assert_close(drawn.norm(), step.norm(), rtol=1e-5, atol=0)
        assert abs(float((drawn * step).sum() / step.norm() ** 2)) < 0.9


def test_directions_follow_from_seed_update_and_step():
    one = steps(RandomDirection(of=AdamW()), 3, per_update=2)
    assert all(map(torch.equal, one[-1], steps(RandomDirection(of=AdamW()), 3, per_update=2)[-1]))
    moved = [after[0] - before[0] for before, after in itertools.pairwise(one)]
    cosines = [
        float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))
        for place, a in enumerate(moved)
        for b in moved[:place]
    ]
    assert max(map(abs, cosines)) < 0.95  # twelve numbers each; equal directions have 1


def test_a_fresh_optimizer_takes_the_first_step_each_time():
    """The first step of Adam is the sign of the gradient, times the rate."""
    found = steps(Fresh(of=AdamW()), 4)
    for place, (before, after) in enumerate(itertools.pairwise(found)):
        for old, new in zip(before, after, strict=True):
            gradient = torch.sin(old * (place + 1) + place + 1)
            torch.testing.assert_close(new - old, -RATE * gradient.sign(), rtol=1e-3, atol=1e-6)


def test_steps_of_one_update_share_their_moments():
    two = steps(Fresh(of=AdamW()), 1, per_update=2)
    assert all(map(torch.equal, two[-1], steps(AdamW(), 1, per_update=2)[-1]))


def test_decay_takes_its_share_of_the_way_back_before_the_step():
    found = steps(DecayToBase(of=Sgd(), rate=2.0), 5)
    for place, (before, after) in enumerate(itertools.pairwise(found)):
        for base, old, new in zip(found[0], before, after, strict=True):
            gradient = torch.sin(old * (place + 1) + place + 1)
            wanted = old - RATE * 2.0 * (old - base) - RATE * gradient
            torch.testing.assert_close(new, wanted)


def test_a_clip_reaches_the_optimizer_within():
    plain, around = steps(AdamW(), 3, clip_at=0.1), steps(DecayToBase(rate=0), 3, clip_at=0.1)
    assert all(map(torch.equal, plain[-1], around[-1]))


@pytest.mark.parametrize(
    ("kind", "of_transformers"),
    [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)],
)
def test_schedules_are_those_of_transformers(kind, of_transformers):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = of_transformers(optimizer, 4, 20)
    ours = ScheduleConfig(kind=kind, warmup=4, updates=20)
    for update in range(1, 21):  # past its end the cosine of transformers rises again
        optimizer.step()
        theirs.step()
        assert factor(ours, update) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_other_schedules():
    constant = ScheduleConfig(warmup=2)
    assert [factor(constant, update) for update in (1, 2, 3, 99)] == [0.5, 1, 1, 1]
    root = ScheduleConfig(kind="inverse_sqrt", warmup=4)
    assert [factor(root, update) for update in (2, 4, 16)] == [0.5, 1, 0.5]
    ending = ScheduleConfig(kind="cosine", updates=10, final=0.2)
    assert (factor(ending, 10), factor(ending, 50)) == (pytest.approx(0.2), pytest.approx(0.2))


@pytest.mark.parametrize("words", [["kind=linear"], ["kind=cosine", "updates=3", "warmup=3"]])
def test_a_schedule_without_a_length_is_refused(words):
    with pytest.raises(UserError, match=r"updates above \d for"):
        load_config("quickstart", [f"training.schedule.{word}" for word in words])


WAYS = {
    "fresh": ["training.optimizer.kind=fresh", "training.steps_per_update=2"],
    "random": ["training.optimizer.kind=random", "training.steps_per_update=2"],
    "decay": [
        "training.optimizer.kind=decay_to_base",
        "training.optimizer.rate=5",
        "training.optimizer.of.kind=sgd",
        "training.optimizer.of.momentum=0.5",
    ],
    "nested": ["training.optimizer.kind=decay_to_base", "training.optimizer.of.kind=random"],
    "schedule": [
        "training.schedule.kind=cosine",
        "training.schedule.warmup=2",
        "training.schedule.updates=5",
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_six_updates_are_three_and_a_resume_and_three(way, tiny_overrides, tmp_path):
    words = [*tiny_overrides, *WAYS[way], "run.report=false", "observers=[]"]
    config = load_config("quickstart", [*words, "collapse.stop=false", "run.export_model=true"])
    whole = collapse_lm.run(config, tmp_path / "whole").directory
    half = collapse_lm.run(config, tmp_path / "half", overrides=["run.max_updates=3"]).directory
    collapse_lm.resume(half, overrides=["run.max_updates=6"])
    found, wanted = ([dict(row) for row in numbers(path)] for path in (half, whole))
    for rows in (found, wanted):  # row 3 was the end of a run for one of them
        rows[3] = {name: v for name, v in rows[3].items() if not name.startswith("validation")}
    assert found == wanted
    for name in ("samples.jsonl", "model/model.safetensors"):
        assert (half / name).read_bytes() == (whole / name).read_bytes()


def examples():
    text = (Path(__file__).parents[1] / "docs" / "methods.md").read_text("utf-8")
    section = text.partition("## Steps and weights")[2]
    return re.findall(r"^```yaml\n(.*?)^```", section, re.M | re.S)


@pytest.mark.parametrize("example", examples())
def test_the_examples_of_the_documentation_load(example):
    assert load_config(yaml.safe_load(example)).training != TrainingConfig()


def test_a_row_tells_the_rate_that_its_steps_had(tiny_overrides, tmp_path):
    words = [*tiny_overrides, "training.learning_rate=0.01", *WAYS["schedule"], "observers=[]"]
    run = collapse_lm.run(
        load_config("quickstart", [*words, "collapse.stop=false"]), tmp_path / "r"
    )
    rates = [row.get("train.lr") for row in RunReader(run.directory).updates()[1:]]
    assert rates == pytest.approx([0.005, 0.01, 0.0075, 0.0025, 0, 0])
    doses = [row.get("dose.rate") for row in RunReader(run.directory).updates()[1:]]
    assert doses[-1] == pytest.approx(sum(rates))
    (listed,) = run_table(tmp_path)
    found, _ = measure_runs([RunReader(run.directory)])
    assert listed["learning_rate"] == found[0].outcome.learning_rate == 0.01
