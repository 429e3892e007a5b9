"""Krause's step against its definition, and as the optimizer of a run."""

import math

import numpy as np
import pytest
import torch
from test_parts import numbers
from torch.nn import functional
from transformers import AutoTokenizer

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.config.kinds.optimizer import Krause, Sgd
from collapse_lm.corpora.windows import plan_windows
from collapse_lm.errors import UserError
from collapse_lm.experiment.krause import KrauseSteps, shared_statistics
from collapse_lm.rundir import RunReader

from conftest import tiny_gpt2

RATE, DECAY, EPSILON = 0.05, 0.3, 0.1
RULE = Krause(decay=DECAY, epsilon=EPSILON)


def made(rule=RULE):
    """Two tensors, θ_0, and the optimizer over them."""
    parameters = [torch.nn.Parameter(torch.tensor(v)) for v in ([[1.0, -2.0, 3.0]], [0.5, 4.0])]
    groups = [{"params": [p], "weight_decay": 0.0} for p in parameters]
    return parameters, KrauseSteps(groups, RATE, rule)


def set_gradients(parameters, values):
    for p, value in zip(parameters, values, strict=True):
        p.grad = torch.tensor(value).reshape(p.shape)


def test_steps_are_those_of_the_definition():
    parameters, optimizer = made()
    batches = [([0.1, -2.0, 0.0], [1.0, 3.0]), ([0.3, 4.0, 0.0], [-1.0, 0.5])]
    optimizer.scale(lambda batch: set_gradients(parameters, batch), batches)
    base = [p.detach().numpy().ravel().copy() for p in parameters]
    rms = [np.sqrt((np.square(a) + np.square(b)) / 2) for a, b in zip(*batches, strict=True)]
    mean = (rms[0].mean() + rms[1].mean()) / 2  # each tensor counts once
    shares = [np.minimum(1, DECAY * r / mean) for r in rms]
    assert max(map(max, shares)) < 1
    wanted = [b.copy() for b in base]
    for step in ([[1.0, 2.0, 3.0], [-1.0, 0.0]], [[0.0, 1.0, -0.1], [2.0, 2.0]]) * 3:
        set_gradients(parameters, step)
        optimizer.step()
        optimizer.zero_grad()
        wanted = [
            w + s * (b - w) - RATE * np.array(g) / (r + EPSILON)
            for w, s, b, g, r in zip(wanted, shares, base, step, rms, strict=True)
        ]
    for p, expected in zip(parameters, wanted, strict=True):
        assert p.detach().numpy().ravel() == pytest.approx(expected, rel=1e-5)


def test_a_decay_never_goes_past_the_base_model():
    parameters, optimizer = made(Krause(decay=50, epsilon=EPSILON))
    optimizer.scale(lambda batch: set_gradients(parameters, batch), [([1.0] * 3, [1.0] * 2)])
    base = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p in parameters:
            p += 7
    set_gradients(parameters, ([0.0] * 3, [0.0] * 2))
    optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(parameters, base, strict=True))


def test_a_weight_decay_is_decoupled_and_a_broken_gradient_told():
    parameters, optimizer = made(Krause(decay=0))
    optimizer.param_groups[0]["weight_decay"] = 2.0
    optimizer.scale(lambda batch: set_gradients(parameters, batch), [([1.0] * 3, [1.0] * 2)])
    set_gradients(parameters, ([0.0] * 3, [0.0] * 2))
    optimizer.step()
    assert parameters[0].tolist() == [pytest.approx([0.9, -1.8, 2.7])]
    assert parameters[1].tolist() == [0.5, 4.0]
    parameters, optimizer = made()
    broken = ([math.nan] * 3, [1.0] * 2)
    with pytest.raises(UserError, match="not finite"):
        optimizer.scale(lambda batch: set_gradients(parameters, batch), [broken])


# --- in a run ----------------------------------------------------------------------------------

SEGMENT, START = 16, 256


@pytest.fixture
def words(tiny_overrides, prose_file):
    return [
        *tiny_overrides,
        "training.optimizer.kind=krause",
        f"training.optimizer.corpus=text:{prose_file}",
        "training.optimizer.batches=4",
        "training.optimizer.batch_size=2",
        "run.report=false",
        "run.checkpoint_every=1",
        "observers=[]",
        "collapse.stop=false",
    ]


def test_statistics_are_of_windows_spread_over_the_corpus(gpt2_dir, prose_file, tmp_path):
    """One update of plain code: the same gradients, the same weights."""
    overrides = {
        "model": str(gpt2_dir),
        "precision": "float32",
        "run.threads": 1,
        "source": {"kind": "real", "corpus": f"text:{prose_file}", "order": "stream"},
        "sampling.max_new_tokens": SEGMENT,
        "training.learning_rate": 1e-3,
        "training.weight_decay": 0,
        "training.grad_clip": None,
        "training.optimizer": {
            "kind": "krause",
            "corpus": f"text:{prose_file}",
            "batches": 3,
            "batch_size": 2,
            "decay": 0.1,
        },
        "evaluation": {"corpora": [f"text:{prose_file}"], "context": SEGMENT, "tokens": SEGMENT},
        "run": {"max_updates": 2, "report": False},
        "observers": [],
    }
    rows = RunReader(collapse_lm.run({}, tmp_path / "r", overrides=overrides).directory).updates()
    encoded = AutoTokenizer.from_pretrained(gpt2_dir)(prose_file.read_text())["input_ids"]
    network, ids = tiny_gpt2(), [START, *encoded]
    parameters, places = list(network.parameters()), spread_over(len(encoded) // SEGMENT, 6)

    def loss(start):
        part = torch.tensor([ids[start * SEGMENT : (start + 1) * SEGMENT + 1]])
        return functional.cross_entropy(network(part[:, :-1]).logits[0], part[0, 1:])

    squares = [torch.zeros_like(p) for p in parameters]
    for first, second in zip(places[:3], places[3:], strict=True):
        found = torch.autograd.grad((loss(first) + loss(second)) / 2, parameters)
        squares = [s + g * g / 3 for s, g in zip(squares, found, strict=True)]
    first, untrained = loss(0), loss(1).item()
    found = torch.autograd.grad(first, parameters)
    with torch.no_grad():
        for p, g, square in zip(parameters, found, squares, strict=True):
            p -= 1e-3 * g / (square.sqrt() + 1e-3)
    assert rows[1].get("train.loss") == pytest.approx(first.item(), rel=1e-5)
    assert rows[2].get("train.loss") == pytest.approx(loss(1).item(), rel=1e-4)
    assert abs(loss(1).item() - untrained) > 0.01  # far more than the tolerance


def spread_over(windows, count):
    """Numbers of the windows that a budget of so many takes."""
    chosen = plan_windows(windows * SEGMENT, SEGMENT, budget=count * SEGMENT)
    return [window.first_target // SEGMENT for window in chosen]


@pytest.mark.parametrize("wrapped", [False, True])
def test_six_updates_are_three_and_a_resume_and_three(wrapped, words, tmp_path):
    if wrapped:
        words = [w.replace("optimizer.", "optimizer.of.") for w in words]
        words.append("training.optimizer.kind=random")
    config = load_config("quickstart", [*words, "run.export_model=true"])
    whole = collapse_lm.run(config, tmp_path / "whole").directory
    half = collapse_lm.run(config, tmp_path / "half", overrides=["run.max_updates=3"]).directory
    collapse_lm.resume(half, overrides=["run.max_updates=6"])
    found, wanted = ([dict(row) for row in numbers(path)] for path in (half, whole))
    for rows in (found, wanted):  # row 3 was the end of a run for one of them
        rows[3] = {name: v for name, v in rows[3].items() if not name.startswith("validation")}
    assert found == wanted
    for name in ("samples.jsonl", "model/model.safetensors"):
        assert (half / name).read_bytes() == (whole / name).read_bytes()


def test_a_resume_does_not_collect_again(words, tmp_path, monkeypatch):
    """The statistics are in the checkpoint: those of other weights would be others."""
    collected = []
    scale = KrauseSteps.scale
    monkeypatch.setattr(
        KrauseSteps, "scale", lambda self, *given: collected.append(1) or scale(self, *given)
    )
    config = load_config("quickstart", words)
    half = collapse_lm.run(config, tmp_path / "half", overrides=["run.max_updates=3"]).directory
    collapse_lm.resume(half, overrides=["run.max_updates=6"])
    assert len(collected) == 1


def test_statistics_that_are_shared_are_collected_once_and_change_nothing(
    words, tmp_path, monkeypatch
):
    collected, scale = [], KrauseSteps.scale
    monkeypatch.setattr(
        KrauseSteps, "scale", lambda self, *given: collected.append(1) or scale(self, *given)
    )
    config, short = load_config("quickstart", words), ["run.max_updates=2"]
    alone = collapse_lm.run(config, tmp_path / "alone", overrides=short).directory
    del collected[:]
    with shared_statistics():
        for name in "ab":
            collapse_lm.run(config, tmp_path / name, overrides=short)
        other = [*short, "training.optimizer.batches=3"]
        collapse_lm.run(config, tmp_path / "other", overrides=other)
    assert len(collected) == 2
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b") == numbers(alone)
    collapse_lm.run(config, tmp_path / "c", overrides=short)
    assert len(collected) == 3  # no longer shared


def test_the_manifest_names_the_text_of_the_statistics(words, tmp_path, prose_file):
    done = collapse_lm.run(
        load_config("quickstart", words), tmp_path / "r", overrides=["run.max_updates=1"]
    )
    told = RunReader(done.directory).manifest()["corpora_of_parts"]
    assert [one["name"] for one in told] == [f"text:{prose_file}"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("training.optimizer.corpus=text:nowhere.txt", "nowhere.txt"),
        ("training.optimizer.batch_size=100000", "a corpus of"),
        ("training.optimizer.epsilon=0", "epsilon"),
        ("training.optimizer.decay=-1", "decay"),
    ],
)
def test_what_gives_no_statistics_is_refused(more, told, words, tmp_path):
    with pytest.raises(UserError, match=told):
        collapse_lm.run(load_config("quickstart", [*words, more]), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_adapters_are_refused(words, tmp_path):
    pytest.importorskip("peft")
    with pytest.raises(UserError, match=r"training\.lora"):
        collapse_lm.run(load_config("quickstart", [*words, "training.lora={}"]), tmp_path / "r")


def test_any_other_optimizer_wants_no_text():
    assert not isinstance(Sgd().build(groups=[{"params": made()[0]}], learning_rate=1), KrauseSteps)
