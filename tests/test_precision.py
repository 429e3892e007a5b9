"""Number formats by phase, and why each was chosen."""

import json
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

import collapse_lm
from collapse_lm import RunReader, UserError
from collapse_lm.config import identity, load_config, resolve, to_yaml
from collapse_lm.experiment.build import ready_model
from collapse_lm.inference.cpu import requirements
from collapse_lm.machine import compute
from collapse_lm.machine.compute import choose_device, choose_phases
from collapse_lm.machine.doctor import examine

from commands import call, settings

CPU = torch.device("cpu")
AUTO = {"sampling": "auto", "training": "auto", "evaluation": "auto"}
kernels = pytest.mark.skipif(
    not requirements.can_compile(), reason="the kernels need numba, and torch on GNU's OpenMP"
)


@pytest.fixture
def without_bfloat16(monkeypatch):
    """A processor that has no instruction for bfloat16."""
    monkeypatch.setattr(compute, "has_bfloat16", lambda device: False)
    monkeypatch.setattr("collapse_lm.inference.cpu.network.has_bfloat16", lambda device: False)


@pytest.mark.parametrize(
    ("multiplies", "compiled", "words"),
    [
        (True, True, ("bfloat16", "bfloat16", "bfloat16")),
        (True, False, ("bfloat16", "bfloat16", "bfloat16")),
        (False, True, ("bfloat16", "float32", "float32")),
        (False, False, ("float32", "float32", "float32")),
    ],
)
def test_auto_follows_from_the_hardware(multiplies, compiled, words, monkeypatch):
    monkeypatch.setattr(compute, "has_bfloat16", lambda device: multiplies)
    phases = choose_phases(AUTO, CPU, lambda: compiled)
    assert tuple(phases.words.values()) == words
    assert all(phases.reasons.values())
    assert phases.emulated == ()


def test_what_would_be_emulated_is_told(without_bfloat16):
    wanted = dict.fromkeys(AUTO, "bfloat16")
    phases = choose_phases(wanted, CPU, lambda: True)
    assert phases.emulated == ("training", "evaluation")
    assert all("emulates" in phases.reasons[phase] for phase in phases.emulated)


def test_a_run_tells_what_will_be_slow(without_bfloat16, tiny_overrides, tmp_path, caplog):
    words = [*tiny_overrides, "precision.training=bfloat16", "run.max_updates=1"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    assert "precision.training is bfloat16" in caplog.text
    assert "emulates" in caplog.text


def test_one_word_stands_for_all_and_leaves_identities_as_they_were():
    word = resolve({"precision": "float32"})
    assert word == resolve({"precision": dict.fromkeys(AUTO, "float32")})
    assert identity(word) == identity(load_config_of(to_yaml(word)))
    assert "precision: float32\n" in to_yaml(word)
    assert identity(resolve({})) == identity(resolve({"precision": "auto"}))
    mixed = resolve({"precision": "float32"}, ["precision.sampling=bfloat16"])
    assert mixed.precision.training == mixed.precision.evaluation == "float32"
    assert mixed.precision.sampling == "bfloat16"
    assert len({identity(word), identity(mixed), identity(resolve({}))}) == 3
    assert resolve({"precision": {"sampling": "bfloat16"}}, ["precision=float32"]) == word


def load_config_of(text):
    import yaml

    return resolve(yaml.safe_load(text))


def test_a_word_that_there_is_not_is_told():
    with pytest.raises(UserError) as caught:
        resolve({"precision": "float16"})
    (problem,) = caught.value.problems
    assert (problem.where, problem.expected[:4]) == ("precision", "auto")
    with pytest.raises(UserError, match=r"precision\.sampling"):
        resolve({}, ["precision.samplin=float32"])


@kernels
def test_samples_come_from_stored_bfloat16_and_losses_from_float32(
    without_bfloat16, tiny_overrides, tmp_path
):
    words = [word for word in tiny_overrides if not word.startswith("precision")]
    words += ["run.checkpoint_every=3"]
    run = collapse_lm.run("quickstart", tmp_path / "r", overrides=words).directory
    manifest = RunReader(run).manifest()
    assert manifest["precision"] == {
        "sampling": "bfloat16",
        "training": "float32",
        "evaluation": "float32",
    }
    assert manifest["inference"]["passes"] == "machine code"
    assert manifest["evaluation_inference"]["weights"] == "float32"
    assert set(manifest["precision_reasons"]) == set(AUTO)
    exact = collapse_lm.run(
        "quickstart", tmp_path / "exact", overrides=[*words, "precision=float32"]
    )
    base, wanted = (RunReader(p).updates()[0].values for p in (run, exact.directory))
    names = [name for name in wanted if name.startswith("validation")]
    assert {name: base[name] for name in names} == {name: wanted[name] for name in names}


@kernels
def test_a_run_of_mixed_formats_resumes_as_it_began(tiny_overrides, tmp_path, monkeypatch):
    from test_parts import numbers

    words = [word for word in tiny_overrides if not word.startswith("precision")]
    words += ["run.checkpoint_every=3"]
    with monkeypatch.context() as patch:
        patch.setattr(compute, "has_bfloat16", lambda device: False)
        patch.setattr("collapse_lm.inference.cpu.network.has_bfloat16", lambda device: False)
        whole = collapse_lm.run("quickstart", tmp_path / "whole", overrides=words)
        short = [*words, "run.max_updates=3"]
        collapse_lm.run("quickstart", tmp_path / "r", overrides=short)
        collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=6"])
    assert numbers(tmp_path / "r") == numbers(whole.directory)


@kernels
@pytest.mark.parametrize("context", ["full", "sliding"])
def test_without_the_instruction_passes_without_a_cache_are_compiled_too(
    context, without_bfloat16, gpt2_dir
):
    words = ["precision.sampling=bfloat16", "sampling.max_new_tokens=60", f"model={gpt2_dir}"]
    words += [f"sampling.context={context}", "sampling.block_size=20"]
    drawn = {}
    for precision in ("bfloat16", "float32"):
        chosen = load_config("quickstart", [*words, f"precision.sampling={precision}"])
        ready = ready_model(chosen)
        ids = torch.arange(40)[None]
        drawn[precision] = ready.sampler.hidden(ids).float()
        targets = ready.sampler.nll(ready.sampler.hidden(ids)[0], ids[0])
        assert targets.shape == (40,)
    torch.testing.assert_close(drawn["bfloat16"], drawn["float32"], rtol=0.1, atol=0.1)


def test_doctor_tells_each_phase_and_its_reason(tiny_overrides):
    done = call("doctor", *settings(tiny_overrides))
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if len(line.split()) > 1}
    for phase in AUTO:
        assert "in float32: as asked for" in lines[phase]


def test_doctor_says_that_another_accelerator_is_left_unused_and_why(monkeypatch):
    found = SimpleNamespace(current_accelerator=lambda check_available: torch.device("mps"))
    monkeypatch.setattr(torch, "accelerator", found)
    lines = {line.subject: line.finding for line in islice(examine(load_config("quickstart")), 4)}
    assert lines["accelerator"].startswith("mps is left unused, and the CPU taken: no run")


@pytest.mark.parametrize("word", ["cuda:97", "tpu", "cuda:x", "cpu:1"])
def test_a_device_that_there_is_not_is_told(word, tiny_overrides, tmp_path):
    with pytest.raises(UserError) as caught:
        collapse_lm.run("quickstart", tmp_path / "r", overrides=[*tiny_overrides, f"device={word}"])
    assert caught.value.problems[0].where == "device"
    assert not (tmp_path / "r").exists()


def test_the_device_decides_no_number_and_is_in_the_manifest(tiny_overrides, tmp_path):
    words = [*tiny_overrides, "device=cpu", "run.max_updates=1"]
    run = collapse_lm.run("quickstart", tmp_path / "r", overrides=words).directory
    assert json.loads((run / "manifest.json").read_text())["device_type"] == "cpu"
    assert choose_device("cpu") == CPU
    plain = load_config("quickstart", [*tiny_overrides, "run.max_updates=1"])
    assert identity(load_config("quickstart", words)) == identity(plain)


@kernels
def test_doctor_times_each_phase_on_the_weights_of_that_phase(
    without_bfloat16, tiny_overrides, monkeypatch
):
    from collapse_lm.experiment.build import prepare
    from collapse_lm.machine import doctor

    words = [word for word in tiny_overrides if not word.startswith("precision")]
    config = load_config("quickstart", words)
    parts, seen = prepare(config), []
    assert parts.state.models.sampler is not parts.state.models.evaluator
    monkeypatch.setattr(doctor, "evaluate", lambda network, data: seen.append(network))
    doctor.measure_update(config, parts)
    assert {id(network) for network in seen} == {id(parts.state.models.evaluator)}


def test_an_evaluation_in_a_loop_of_its_own_makes_no_weights_that_it_does_not_read(
    gpt2_dir, prose_file, monkeypatch
):
    from collapse_lm import own_loop

    model, made = collapse_lm.load_model(gpt2_dir), []
    inner = own_loop.inference_network

    def making(network, precision, **named):
        made.append(precision)
        return inner(network, precision, **named)

    monkeypatch.setattr(own_loop, "inference_network", making)
    monkeypatch.setattr(own_loop, "try_once", None)  # `load_model` has tried it
    monkeypatch.setattr(compute, "has_bfloat16", lambda device: False)
    collapse_lm.evaluate(model, f"text:{prose_file}", context=64)
    assert made == ["float32"]


@pytest.mark.parametrize(
    ("call_it", "name"),
    [
        (lambda m, c: collapse_lm.evaluate(m, c, every=5), "every"),
        (lambda m, c: collapse_lm.evaluate(m, c, corpora="sotu"), "corpora"),
        (lambda m, c: collapse_lm.evaluation_set(m, c, precision="float32"), "precision"),
        (lambda m, c: collapse_lm.sample(m, batch_size=3), "batch_size"),
    ],
)
def test_what_would_be_without_effect_is_no_argument(call_it, name, gpt2_dir, prose_file):
    with pytest.raises((UserError, TypeError), match=name):
        call_it(gpt2_dir, f"text:{prose_file}")
