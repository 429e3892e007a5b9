"""Each objective against its definition, on full logits of all texts at once, in float64.

Shapes: T targets, V vocabulary.
"""

import copy
import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.config.parts import OBJECTIVES
from collapse_lm.config.slots import kind_of
from collapse_lm.errors import UserError
from collapse_lm.experiment.learner import Asked, train_step
from collapse_lm.experiment.objectives import Chunk
from collapse_lm.experiment.objectives.entropy_bonus import AdaptiveEntropyBonus, Control
from collapse_lm.experiment.objectives.truncated_nll import TruncatedNll
from collapse_lm.experiment.objectives.unlikelihood import candidates
from collapse_lm.experiment.segments import Segment
from collapse_lm.inference import inference_network
from collapse_lm.machine.compute import Compute
from collapse_lm.measures.names import described
from collapse_lm.rundir import RunReader

from conftest import tiny_gpt2

CPU = torch.device("cpu")
# Two texts, one of them longer than a chunk of 256 targets and full of repetition.
TEXTS = [
    Segment((256, 9), tuple((7 * i * i + i // 3) % 61 for i in range(300))),
    Segment((256,), tuple(range(40))),
]
LIKELY = 0.004  # threshold of the truncation: about 1 / V, as the model knows little
TARGETS = sum(len(text.targets) for text in TEXTS)


class OfSeed:
    """All that an objective of ours reads of a context."""

    seed = 3


def built(*words):
    return load_config("quickstart", words).objective.build(OfSeed())


@pytest.fixture(scope="module")
def networks():
    """A trained and a base model that differ, in float64."""
    trained, base = tiny_gpt2(512).double(), tiny_gpt2(512).double()
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.mul_(0.9)
    return trained, base


# --- definitions ------------------------------------------------------------------------------


def nll(p_TV, _q_TV, ids, places):
    return sum(-p_TV[t, ids[place]].log() for t, place in enumerate(places))


def reverse(p_TV, q_TV, _ids, _places):
    return (p_TV * (p_TV / q_TV).log()).sum()


def forward(p_TV, q_TV, _ids, _places):
    return (q_TV * (q_TV / p_TV).log()).sum()


def entropy(p_TV, _q_TV, _ids, _places):
    return -(p_TV * p_TV.log()).sum()


def smoothed(p_TV, q_TV, ids, places):
    return 0.7 * nll(p_TV, q_TV, ids, places) - 0.3 * p_TV.log().mean(-1).sum()


def truncated(p_TV, _q_TV, ids, places):
    likely = [p_TV[t, ids[place]] for t, place in enumerate(places)]
    assert 0 < sum(p > LIKELY for p in likely) < len(likely)
    return sum(-p.log() for p in likely if p <= LIKELY)


def unlike(p_TV, _q_TV, ids, places):
    total = 0.0
    for t, place in enumerate(places):
        before = sorted(set(ids[:place]) - {ids[place]})
        total = total - (1 - p_TV[t, before]).log().sum()
    return total


def mix(*weighted):
    return lambda *of: sum(weight * term(*of) for weight, term in weighted)


KINDS = {
    "reverse": (["kind=kl_to_base", "weight=0.5"], mix((1, nll), (0.5, reverse))),
    "forward": (
        ["kind=kl_to_base", "weight=2", "direction=forward"],
        mix((1, nll), (2, forward)),
    ),
    "smoothing": (["kind=label_smoothing", "smoothing=0.3"], smoothed),
    "truncated": (["kind=truncated_nll", "threshold=0.004"], truncated),
    "entropy": (["kind=entropy_bonus", "weight=0.3"], mix((1, nll), (-0.3, entropy))),
    "adaptive": (
        ["kind=entropy_bonus", "weight=0.3", "adaptive.target=9"],
        mix((1, nll), (-0.3, entropy)),
    ),
    "unlikelihood": (["kind=unlikelihood", "weight=0.7"], mix((1, nll), (0.7, unlike))),
    "nested": (
        [
            *("kind=kl_to_base", "weight=0.5", "of.kind=entropy_bonus", "of.weight=0.3"),
            *("of.of.kind=truncated_nll", "of.of.threshold=0.004"),
        ],
        mix((1, truncated), (-0.3, entropy), (0.5, reverse)),
    ),
}


def directly(trained, base, define):
    """The mean by its definition, and the gradient of it."""
    total, network = 0.0, copy.deepcopy(trained)
    for text in TEXTS:
        ids = [*text.context, *text.targets]
        places = range(len(text.context), len(ids))
        with torch.no_grad():
            q_TV = base(torch.tensor([ids[:-1]])).logits[0, -len(places) :].softmax(-1)
        p_TV = network(torch.tensor([ids[:-1]])).logits[0, -len(places) :].softmax(-1)
        total = total + define(p_TV, q_TV, ids, places)
    mean = total / TARGETS
    mean.backward()
    return float(mean.detach()), [p.grad for p in network.parameters()]


def by_a_step(trained, base, objective, compute):
    """What a step tells, and the gradient that it took: a rate of 1 without momentum."""
    network = copy.deepcopy(trained)
    before = [p.detach().clone() for p in network.parameters()]
    told = train_step(
        network,
        torch.optim.SGD(network.parameters(), lr=1.0),
        TEXTS,
        compute,
        None,
        Asked(objective, 7, inference_network(copy.deepcopy(base), "float32")),
    )
    return told, [old - new.detach() for old, new in zip(before, network.parameters(), strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_follows_the_gradient_of_the_definition(kind, networks):
    words, define = KINDS[kind]
    objective = built(*(f"objective.{word}" for word in words))
    told, gradient = by_a_step(*networks, objective, Compute(CPU, "float32"))
    plain, _ = directly(*networks, nll)
    mean, wanted = directly(*networks, define)
    assert told.loss == pytest.approx(plain, rel=1e-9)
    assert told.objective == pytest.approx(mean, rel=1e-6)
    for got, want in zip(gradient, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_does_in_bfloat16_to_its_rounding(kind, networks):
    words, define = KINDS[kind]
    trained, base = (copy.deepcopy(network).float() for network in networks)
    objective = built(*(f"objective.{word}" for word in words))
    told, gradient = by_a_step(trained, base, objective, Compute(CPU, "bfloat16"))
    mean, wanted = directly(*networks, define)
    assert told.objective == pytest.approx(mean, rel=0.01)
    got, want = (torch.cat([g.double().flatten() for g in each]) for each in (gradient, wanted))
    assert functional.cosine_similarity(got, want, 0) > 0.99


def test_what_objectives_tell_is_the_mean_of_each_term_without_its_weight(networks):
    words, _ = KINDS["nested"]
    objective = built(*(f"objective.{word}" for word in words))
    told, _ = by_a_step(*networks, objective, Compute(CPU, "float32"))
    assert told.told == {
        "objective.kl_reverse": pytest.approx(directly(*networks, reverse)[0], rel=1e-6),
        "objective.entropy": pytest.approx(directly(*networks, entropy)[0], rel=1e-6),
        "objective.entropy_weight": 0.3,
        "objective.dropped": pytest.approx(directly(*networks, lost)[0]),
    }


def lost(p_TV, _q_TV, ids, places):
    likely = [p_TV[t, ids[place]] for t, place in enumerate(places)]
    return sum(float(p.detach() > LIKELY) + 0 * p for p in likely)


# --- the rate-matched control -----------------------------------------------------------------


def chunk_of(logits_TV, update=1, targets=None):
    targets_T = torch.zeros(len(logits_TV), dtype=torch.long) if targets is None else targets
    loss = functional.cross_entropy(logits_TV, targets_T, reduction="sum")
    return Chunk(logits_TV, targets_T, torch.tensor([1]), loss, None, update)


def dropped_by(objective, update, certain=(3, 5, 6)):
    """The places without a gradient of ten targets, of which some are all but certain."""
    logits_TV = torch.zeros(10, 4)
    logits_TV[list(certain), 0] = 9.0
    logits_TV.requires_grad_()
    objective(chunk_of(logits_TV, update)).backward()
    return [t for t in range(10) if not logits_TV.grad[t].any()]


def test_the_control_drops_as_many_targets_at_random_and_the_same_after_a_resume():
    assert dropped_by(TruncatedNll(0.8, "none", 0), 1) == [3, 5, 6]
    objective = TruncatedNll(0.8, "random", 0)
    found = [dropped_by(objective, update) for update in (1, 1, 2, 2, 3)]
    assert [len(places) for places in found] == [3] * 5
    assert len({tuple(places) for places in found}) > 2
    assert objective.values() == {"objective.dropped": pytest.approx(0.3)}
    again = TruncatedNll(0.8, "random", 0)
    assert [dropped_by(again, update) for update in (2, 2, 3)] == found[2:]
    other = TruncatedNll(0.8, "random", 1)
    assert [dropped_by(other, update) for update in (1, 1, 2, 2, 3)] != found


def test_every_place_is_dropped_alike_by_the_control():
    counts = torch.zeros(10)
    objective = TruncatedNll(0.8, "random", 0)
    for update in range(1, 1001):
        counts[dropped_by(objective, update)] += 1
    assert float(counts.sum()) == 3000
    assert counts.sub(300).abs().max() < 5 * math.sqrt(1000 * 0.3 * 0.7)


def test_where_all_targets_are_dropped_nothing_is_learned():
    assert dropped_by(TruncatedNll(0.8, "none", 0), 1, certain=range(10)) == list(range(10))


# --- the adaptive entropy bonus ---------------------------------------------------------------

LOW, HIGH = 2, 8  # tokens of a uniform distribution: .69 and 2.08 nats
# Weight of each update: target 1, step .1, ceiling .25, from .05, by TRL's rule.
ENTROPIES = [LOW, LOW, LOW, LOW, HIGH, HIGH, HIGH, LOW, LOW]
APPLIED = [0.05, 0.15, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.1]


def applied(bonus, update, tokens):
    """The weight by which an update of two chunks is given the bonus."""
    weights = []
    for count in (3, 5):
        logits_TV = torch.zeros(count, tokens, requires_grad=True)
        weights.append(
            float(bonus(chunk_of(logits_TV, update)).detach()) / -(count * math.log(tokens))
        )
    assert weights[0] == pytest.approx(weights[1])
    assert bonus.values()["objective.entropy"] == pytest.approx(math.log(tokens))
    assert bonus.values()["objective.entropy_weight"] == pytest.approx(weights[0])
    return weights[0]


def adaptive():
    return AdaptiveEntropyBonus(0.05, Control(target=1.0, step=0.1, ceiling=0.25))


def test_the_weight_of_the_bonus_follows_the_entropy_once_per_update():
    bonus = adaptive()
    found = [applied(bonus, update, tokens) for update, tokens in enumerate(ENTROPIES, 1)]
    assert found == pytest.approx(APPLIED)


@pytest.mark.parametrize("cut", range(1, len(ENTROPIES)))
def test_it_goes_on_where_it_was(cut):
    bonus, other = adaptive(), adaptive()
    for update in range(1, cut + 1):
        applied(bonus, update, ENTROPIES[update - 1])
    other.load(bonus.state())
    for update in range(cut + 1, len(ENTROPIES) + 1):
        assert applied(other, update, ENTROPIES[update - 1]) == pytest.approx(APPLIED[update - 1])


def test_the_state_of_something_else_is_refused():
    with pytest.raises(ValueError, match="adaptive entropy bonus"):
        adaptive().load({"place": 3})


# --- the rest ---------------------------------------------------------------------------------


def test_candidates_are_the_tokens_before_without_the_target():
    text = [9, 4, 4, 7, 9, 7, 2, 4]
    for start in (1, 3):
        tokens_C, is_candidate_TC = candidates(
            torch.tensor(text[:start]), torch.tensor(text[start:])
        )
        for t, row in enumerate(is_candidate_TC):
            place = start + t
            assert set(tokens_C[row].tolist()) == set(text[:place]) - {text[place]}


def test_who_reads_the_log_probabilities_first_takes_no_gradient_from_others():
    logits_TV = torch.zeros(2, 3, requires_grad=True)
    chunk = chunk_of(logits_TV)
    with torch.no_grad():
        assert chunk.log_p_TV.exp().sum() == pytest.approx(2)
    chunk.log_p_TV[0, 1].backward()
    assert logits_TV.grad[0].tolist() == pytest.approx([-1 / 3, 2 / 3, -1 / 3])


@pytest.mark.parametrize(
    "words",
    [
        ["kind=unlikelihood", "of.kind=kl_to_base", "of.of.kind=unlikelihood"],
        ["kind=kl_to_base", "of.kind=kl_to_base"],
    ],
)
def test_a_term_stands_once(words):
    with pytest.raises(UserError, match="each term once"):
        built(*(f"objective.{word}" for word in words))


def test_both_directions_may_stand_beside_each_other():
    both = ["objective.kind=kl_to_base", "objective.of={kind: kl_to_base, direction: forward}"]
    assert built(*both).needs_base


def test_every_example_of_the_documentation_loads():
    page = Path(__file__).parents[1] / "docs" / "methods.md"
    section = (
        page.read_text(encoding="utf-8").partition("\n## Objectives\n")[2].partition("\n## ")[0]
    )
    examples = re.findall(r"```yaml\n(.*?)```", section, flags=re.DOTALL)
    kinds = {load_config(yaml.safe_load(example)).objective.kind for example in examples}
    assert kinds | {"nll"} == {kind_of(part) for part in OBJECTIVES.own}


RUNS = [
    "{kind: kl_to_base, of: {kind: entropy_bonus, adaptive: {target: 4.85, step: 0.2}, "
    "of: {kind: truncated_nll, threshold: 0.05, control: random}}}",
    "{kind: unlikelihood, of: {kind: kl_to_base, direction: forward, of: label_smoothing}}",
    "{kind: entropy_bonus, weight: 0.2, of: {kind: truncated_nll, threshold: 0.05}}",
]


@pytest.mark.parametrize("objective", RUNS)
def test_three_updates_and_three_more_are_six_bit_for_bit(objective, tiny_overrides, tmp_path):
    words = [f"objective={objective}", "sampling.batch_size=2", "training.steps_per_update=2"]
    words = [*tiny_overrides, *words]
    whole = collapse_lm.run("quickstart", tmp_path / "whole", overrides=words).directory
    short = [*words, "run.max_updates=3", "run.checkpoint_every=3"]
    collapse_lm.run("quickstart", tmp_path / "half", overrides=short)
    collapse_lm.resume(tmp_path / "half", overrides=["run.max_updates=6"])
    rows = [numbers(path) for path in (tmp_path / "half", whole)]
    assert rows[0] == rows[1]
    samples = [(path / "samples.jsonl").read_bytes() for path in (tmp_path / "half", whole)]
    assert samples[0] == samples[1]
    assert [name for row in rows[1] for name in row if described(name) is None] == []
    assert all(math.isfinite(row["train.objective"]) for row in rows[1][1:])
    assert all(0 < row.get("objective.dropped", 0.5) < 1 for row in rows[1][1:])
    if "adaptive" in objective:
        weights = [row["objective.entropy_weight"] for row in rows[1][1:]]
        assert 0.0 in weights
        assert weights[-1] > weights[0] > 0
    if "kl_to_base" in objective:
        (name,) = [name for name in rows[1][1] if "kl_" in name]
        divergences = [row[name] for row in rows[1][1:]]
        assert abs(divergences[0]) < 1e-5 < 1e-3 < divergences[-1]


def numbers(path):
    rows = RunReader(path).updates()
    return [
        {k: v for k, v in row.values.items() if not k.startswith(("seconds.", "validation."))}
        for row in rows
    ]


def test_the_plain_loss_alone_tells_nothing_more(tiny_overrides, tmp_path):
    words = [*tiny_overrides, "run.max_updates=1"]
    row = numbers(collapse_lm.run("quickstart", tmp_path / "r", overrides=words).directory)[1]
    assert not [name for name in row if name.startswith(("objective.", "train.objective"))]
