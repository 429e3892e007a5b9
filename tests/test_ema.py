"""An average of the weights: its definition, what it samples, and that it resumes bit for bit."""

import pytest
import torch
from safetensors.torch import load_file
from test_parts import numbers

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.experiment.build import prepare
from collapse_lm.experiment.ema import Averaged
from collapse_lm.rundir import RunReader

PLAIN = ["run.report=false", "observers=[]", "collapse.stop=false", "run.checkpoint_every=3"]
SILENT = ["training.ema.decay=0.7", "training.ema.sample=false"]


def done(overrides, path, *words):
    config = load_config("quickstart", [*overrides, *PLAIN, *words])
    return collapse_lm.run(config, path).directory


def without(rows, *names):
    return [{k: v for k, v in row.items() if not k.startswith(names)} for row in rows]


def test_the_average_is_that_of_the_definition():
    network = torch.nn.Linear(3, 2)
    averaged, wanted = Averaged(network, 0.8), network.weight.detach().clone().double()
    for step in range(1, 6):
        with torch.no_grad():
            network.weight.mul_(1 + 0.1 * step)
        averaged.follow()
        wanted = 0.8 * wanted + 0.2 * network.weight.detach().double()
        torch.testing.assert_close(
            averaged.network.weight.detach().double(), wanted, rtol=1e-6, atol=0
        )
    other = Averaged(torch.nn.Linear(3, 2), 0.8)
    other.load(averaged.state())
    assert torch.equal(other.network.weight, averaged.network.weight)
    with pytest.raises(ValueError, match="not those of the model"):
        other.load({"weight": torch.zeros(1)})


def test_an_average_that_leaves_nothing_is_the_run_without_it(tiny_overrides, tmp_path):
    without_it = done(tiny_overrides, tmp_path / "a")
    with_it = done(tiny_overrides, tmp_path / "b", "training.ema.decay=0")
    # The last digits of a product may hang on where in memory a weight begins, so: nearly.
    for one, other in zip(numbers(without_it), numbers(with_it), strict=True):
        assert one == pytest.approx(other, rel=1e-5, nan_ok=True)
    runs = [RunReader(path).samples() for path in (without_it, with_it)]
    ids = [[text.ids for row in rows for text in row.texts] for rows in runs]
    assert ids[0] == ids[1]


def test_a_silent_average_changes_nothing_but_is_scored(tiny_overrides, tmp_path):
    plain, silent = (done(tiny_overrides, tmp_path / n, *w) for n, w in (("a", []), ("b", SILENT)))
    assert numbers(plain) == without(numbers(silent), "ema.")
    first, *rest = RunReader(silent).updates()
    losses = {row.update: row.labelled("ema.loss") for row in (first, *rest)}
    assert losses[0] == first.labelled("validation.loss")
    assert all(losses[row.update] != row.labelled("validation.loss") for row in rest)


def test_samples_are_of_the_average_and_so_is_the_export(tiny_overrides, tmp_path):
    words = ["training.ema.decay=0.7", "run.export_model=true", "run.checkpoint_every=1"]
    words += ["run.max_updates=2"]
    path = done(tiny_overrides, tmp_path / "run", *words)
    (*_, newest) = sorted((path / "checkpoints").iterdir())
    trained, average = (load_file(newest / f"{n}.safetensors") for n in ("model", "ema"))
    exported = load_file(path / "model" / "model.safetensors")
    name = "transformer.h.0.mlp.c_fc.weight"
    assert torch.equal(exported[name], average[name])
    assert not torch.equal(trained[name], average[name])
    ((corpus, loss),) = RunReader(path).updates()[-1].labelled("validation.loss").items()
    told = collapse_lm.evaluate(path / "model", corpus, context=64, precision="float32")
    assert told.loss == pytest.approx(loss, rel=1e-6)


def test_the_rule_hears_what_the_model_that_drew_thinks(tiny_overrides, tmp_path):
    path = done(tiny_overrides, tmp_path / "run", "training.ema.decay=0.7", "run.max_updates=3")
    third = RunReader(path).updates()[3]
    (text,) = RunReader(path).samples()[2].texts
    own = -sum(text.log_probs) / len(text.ids)
    assert third.get("probe.loss") == pytest.approx(own, abs=1e-3)
    assert third.get("train.loss") != pytest.approx(own, abs=1e-2)


@pytest.mark.parametrize("words", [["training.ema.decay=0.7"], SILENT])
def test_six_updates_are_three_and_a_resume_and_three(words, tiny_overrides, tmp_path):
    words = [*words, "training.steps_per_update=2", "run.export_model=true"]
    whole = done(tiny_overrides, tmp_path / "whole", *words)
    half = done(tiny_overrides, tmp_path / "half", *words, "run.max_updates=3")
    collapse_lm.resume(half, overrides=["run.max_updates=6"])
    assert numbers(half) == numbers(whole)
    for name in ("samples.jsonl", "model/model.safetensors"):
        assert (half / name).read_bytes() == (whole / name).read_bytes()


def test_a_base_model_is_that_of_the_run_without_an_average(tiny_overrides):
    parts = prepare(load_config("quickstart", [*tiny_overrides, "training.ema.decay=0.5"]))
    models = parts.state.models
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(models.base().hidden(ids), models.evaluator.hidden(ids))
    with torch.no_grad():
        models.trained.transformer.wpe.weight.mul_(2)
    models.follow()
    assert not torch.equal(models.base().hidden(ids), models.evaluator.hidden(ids))


def test_a_withheld_step_moves_no_average(tiny_overrides, tmp_path):
    def not_a_number(chunk):
        return chunk.nll * float("nan")

    words = ["training.ema.decay=0.5", "run.export_model=true", "evaluation.every=1"]
    config = load_config("quickstart", [*tiny_overrides, *PLAIN, *words])
    run = collapse_lm.run(config, tmp_path / "run", objective=not_a_number).directory
    first, last = RunReader(run).updates()
    assert (last.get("train.applied"), last.update) == (0, 1)
    assert last.labelled("validation.loss") == first.labelled("validation.loss")
