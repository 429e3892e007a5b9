"""Hostile model folders: nothing in them is executed, and nothing outside them is read."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hostile import quiet, refused


class Payload:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def model_dir(gpt2_dir, tmp_path):
    return Path(shutil.copytree(gpt2_dir, tmp_path / "model"))


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def sample_of(model):
    return quiet("sample", model, "--set", "sampling.max_new_tokens=3")


def test_pickles_are_refused_and_not_run(model_dir, tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Payload(mark)))  # the payload works
    mark.unlink()
    (model_dir / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.ckpt", "adapter_model.bin"):
        torch.save(Payload(mark), model_dir / name)
    refused("sample", model_dir, got="a folder without safetensors")
    # A config that names a pickle as the weights, beside safetensors that look right.
    save_file({"x": torch.zeros(1)}, model_dir / "decoy.safetensors")
    edit(model_dir / "config.json", transformers_weights="adapter_model.bin")
    refused("sample", model_dir, got="transformers_weights")
    edit(model_dir / "config.json", transformers_weights=None)
    refused("sample", model_dir, got="transformers_weights")
    assert not mark.exists()


def test_an_adapter_is_refused(model_dir):
    (model_dir / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    refused("sample", model_dir, got="adapter_config.json")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", ["gpt2", "stranger"])
def test_code_in_a_model_folder_is_not_run(name, kind, model_dir, tmp_path):
    mark = tmp_path / "mark"
    (model_dir / "owned.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass C: pass\n"
    )
    classes = ["AutoConfig", "AutoModel", "AutoModelForCausalLM"]
    auto_map = dict.fromkeys(classes, "owned.C") | {"AutoTokenizer": ["owned.C", "owned.C"]}
    edit(model_dir / name, auto_map=auto_map)
    if kind == "stranger":
        edit(model_dir / "config.json", model_type="stranger", architectures=["C"])
    outcome = sample_of(model_dir)
    assert outcome.code == (0 if kind == "gpt2" else 2)
    assert not mark.exists()


def test_a_chat_template_is_not_rendered(model_dir, tmp_path):
    mark = "{{ cycler.__init__.__globals__.os.system('touch MARK') }}{% for i in range(10**9) %}x"
    mark = mark.replace("MARK", str(tmp_path / "mark"))
    (model_dir / "chat_template.jinja").write_text(mark)
    edit(model_dir / "tokenizer_config.json", chat_template=mark)
    assert sample_of(model_dir).code == 0
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_out_of_a_model_folder_is_refused(name, model_dir, tmp_path):
    (model_dir / name).rename(tmp_path / name)
    (model_dir / name).symlink_to(tmp_path / name)
    assert "copy the file" in refused("sample", model_dir, got="leads out of the folder")
    # The same within the folder is fine.
    (model_dir / name).unlink()
    (model_dir / "files").mkdir()
    (tmp_path / name).rename(model_dir / "files" / name)
    (model_dir / name).symlink_to(Path("files", name))
    assert sample_of(model_dir).code == 0


def test_a_snapshot_of_the_hubs_cache_may_link_to_its_blobs_only(model_dir, tmp_path):
    repository = tmp_path / "cache" / "models--tiny"
    snapshot = repository / "snapshots" / "0123"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(model_dir.iterdir()):
        path.rename(repository / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert sample_of(snapshot).code == 0
    (snapshot / "vocab.json").symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").write_text("{}")
    refused("sample", snapshot, got="leads out of the folder")


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/hostname", "a\0b", 5])
def test_an_index_may_name_only_files_of_its_folder(name, model_dir, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path.parent / "x.safetensors")
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": name}}
    (model_dir / "model.safetensors.index.json").write_text(json.dumps(index))
    refused("sample", model_dir, got="weight_map" if name == 5 else "leads out of the folder")


def test_a_tokenizer_may_name_only_files_of_its_folder(model_dir, tmp_path):
    shutil.copy(model_dir / "tokenizer.json", tmp_path / "tokenizer.0.1.json")
    edit(model_dir / "tokenizer_config.json", fast_tokenizer_files=["../tokenizer.0.1.json"])
    refused("sample", model_dir, got="leads out of the folder")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_of_a_model_that_is_no_json_is_refused(name, model_dir):
    contents = [b"", b"\0" * 99, b"\xff\xfe", b"[" * 200_000, b"[1]", b'{"a": NaN', b"null", b'"x"']
    for content in contents:
        (model_dir / name).write_bytes(content)
        refused("sample", model_dir, got=f"model {model_dir}")
    (model_dir / name).unlink()
    os.mkfifo(model_dir / name)
    refused("sample", model_dir, got=f"model {model_dir}")


@pytest.mark.parametrize(
    "values",
    [
        {"n_head": 0},
        {"n_embd": -1},
        {"n_layer": "many"},
        {"vocab_size": 10**30},
        {"vocab_size": 3},
        {"activation_function": "\x1b[31m"},
        {"model_type": "\x1b[31m"},
        {"model_type": "t5"},
        {"model_type": ["a"]},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        {"quantization_config": "x"},
        {"dtype": "\x1b[31m"},
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_its_weights_is_refused(values, model_dir):
    edit(model_dir / "config.json", **values)
    refused("sample", model_dir, got=f"model {model_dir}")


def test_weights_that_are_missing_or_damaged_are_refused(model_dir):
    from safetensors.torch import load_file

    path = model_dir / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("transformer.h.1.mlp.c_fc.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    refused("sample", model_dir, got="transformer.h.1.mlp.c_fc.weight")
    for content in (b"", b"\xff" * 100, (2**62).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        refused("sample", model_dir, got=f"model {model_dir}")
