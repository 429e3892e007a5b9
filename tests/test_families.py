"""Models of other families: each cell of docs/models.md is exact, or the family is refused."""

import importlib.util
import logging
from pathlib import Path

import pytest
import torch
import transformers

from collapse_lm.errors import UserError
from collapse_lm.experiment.trial import compute_of_steps
from collapse_lm.inference import inference_network
from collapse_lm.machine.compute import Compute
from collapse_lm.models.load import load_model

from families import NOT_BUILT, QUICK, families, save_family
from family_cells import examine
from hostile import IS_FULL

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "models.md").read_text("utf-8").splitlines()
IS_OF_THIS_VERSION = any(f"transformers {transformers.__version__}," in line for line in PAGE)


def renderer():
    path = ROOT / "docs" / "scripts" / "render_models.py"
    spec = importlib.util.spec_from_file_location("render_models", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.filterwarnings("default")  # what code of transformers warns of is not ours
@pytest.mark.parametrize("family", families() if IS_FULL else QUICK)
def test_a_family_works_exactly_or_is_refused_as_the_page_says(family, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # as the page was made
    found = examine(save_family(family, tmp_path / "model"), tmp_path / "work")
    assert found.refused or set(found.cells.values()) == {"exact"}, found.cells
    if IS_OF_THIS_VERSION:
        assert renderer().line(family, found) in PAGE


@pytest.mark.skipif(not IS_OF_THIS_VERSION, reason="docs/models.md is of another transformers")
def test_the_page_names_every_family_of_transformers():
    named = {line.split("|")[1].strip() for line in PAGE if line.startswith("| ")}
    assert set(families()) | set(NOT_BUILT) <= named
    assert not set(families()) & set(NOT_BUILT)


HALF = Compute(torch.device("cpu"), "bfloat16")


def test_where_autocast_fails_steps_are_in_float32_which_is_told(tmp_path, caplog):
    model = load_model(str(save_family("dbrx", tmp_path / "model")))
    with caplog.at_level(logging.WARNING):
        assert compute_of_steps(model, HALF).precision == "float32"
    assert "dbrx is trained in float32: autocast to bfloat16 fails (RuntimeError: " in caplog.text
    assert all(p.grad is None for p in model.network.parameters())


def test_a_model_whose_code_cannot_be_trained_is_refused(tmp_path):
    model = load_model(str(save_family("reformer", tmp_path / "model")))
    with pytest.raises(UserError, match="fails at a training pass: AssertionError: "):
        compute_of_steps(model, HALF)


def test_a_head_that_a_model_keeps_in_float32_is_multiplied_as_it_is(tmp_path):
    master = load_model(str(save_family("hy_v4", tmp_path / "model"))).network
    assert "lm_head" in master._keep_in_fp32_modules_strict
    network = inference_network(master, "bfloat16")
    ids = torch.tensor([[256, 3, 1, 4]])
    with torch.no_grad():
        wanted = master(input_ids=ids).logits[0]
    assert (network.logits(network.hidden(ids)[0]) - wanted).norm() < 0.05 * wanted.norm()
