"""Presets of other papers: what their headers promise, and a small run of each to its end."""

import json
import re
import shlex
from importlib import resources

import pytest

import collapse_lm
from collapse_lm.config import load_config
from collapse_lm.rundir import RunReader
from collapse_lm.sweeps import load_sweep, plan_sweep

FOLDER = resources.files("collapse_lm.config") / "presets"
NAMES = ("shumailov-2024", "gerstgrasser-2024", "ssd-paper", "ssd-trl")


def header_of(name):
    lines = (FOLDER / f"{name}.yaml").read_text("utf-8").splitlines()
    return [line.removeprefix("#").strip() for line in lines if line.startswith("#")]


def small(name):
    """The overrides of the command in a header that shrinks the preset."""
    text = " ".join(header_of(name)).partition("Small: ")[2]
    words = shlex.split(text)
    assert words[:3] == ["collapse-lm", "run", name]
    assert set(words[3::2]) == {"--set"}
    return words[4::2]


@pytest.mark.parametrize("name", NAMES)
def test_a_header_names_paper_deviations_and_a_small_run(name):
    text = " ".join(header_of(name))
    assert re.search(r"arXiv \d{4}\.\d{5}|trl\.experimental", text)
    assert text.count(" - ") >= 3
    assert "Deviations:" in text
    config = load_config(name, small(name))
    assert config.model == "ladder:32x2"
    assert not config.collapse.stop


@pytest.mark.parametrize("name", NAMES)
def test_the_small_run_goes_to_its_end(name, gpt2_dir, prose_file, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    lines = (json.dumps({"prompt": f"line {n}: "}) for n in range(32))
    prompts.write_text("".join(f"{line}\n" for line in lines))
    words = [word.replace("=PROMPTS", f"={prompts}") for word in small(name)]
    human = [f"source.real.corpus=text:{prose_file}"] if "real.corpus" in " ".join(words) else []
    tiny = ["sampling.max_new_tokens=8", "evaluation.context=64", "run.report=false"]
    tiny += ["sampling.min_new_tokens=8"] if "min_new_tokens" in " ".join(words) else []
    tiny += ["observers=[]", "run.threads=1", "precision=float32", f"model={gpt2_dir}"]
    tiny += [f"evaluation.corpora=[text:{prose_file}]", *human]
    tiny += ["source.texts=32"] if human else []
    config = load_config(name, [*words, *tiny])
    run = RunReader(collapse_lm.run(config, tmp_path / "run").directory)
    rows = run.updates()
    assert rows[-1].update == config.run.max_updates
    generations = [int(row["generation"]) for row in rows[1:] if "generation" in row.values]
    if name == "ssd-trl":
        assert not generations
    else:
        assert sorted(set(generations)) == [*range(config.source.first, generations[-1] + 1)]
        assert generations[-1] == config.source.generations
    if name.startswith("ssd"):
        assert len({text.prompt for row in run.samples() for text in row.texts}) == 32


def test_shumailov_s_numbers():
    config = load_config("shumailov-2024")
    assert (config.source.beams, config.sampling.repetition_penalty) == (5, 3.0)
    assert (config.source.epochs, config.sampling.batch_size) == (5, 128)
    assert config.training.learning_rate * config.training.schedule.final == pytest.approx(1e-6)
    assert config.sampling.min_new_tokens == config.sampling.max_new_tokens == 64


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shumailov-2024", []),
        ("shumailov-2024", ["source.epochs=10", "source.real.share=0.1"]),
        *(("gerstgrasser-2024", [f"source.keep={k}"]) for k in ("replace", "accumulate")),
        ("gerstgrasser-2024", ["source.keep=subsample"]),
    ],
)
def test_the_end_of_each_generation_is_measured(name, words):
    config = load_config(name, words)
    for number in range(config.source.generations + 1):
        updates = config.source.updates(number, config.sampling.batch_size)
        assert updates % config.evaluation.every == 0


def test_the_sweep_of_generations_compares_what_is_kept():
    configs = [run.config for run in plan_sweep(load_sweep("generations")).runs]
    assert (len(configs), len({config.seed for config in configs})) == (18, 3)
    kept = {(c.source.start, c.source.keep, c.source.real.share) for c in configs}
    scratch = {("scratch", keep, 0) for keep in ("replace", "accumulate", "subsample")}
    tuned = {("base", "replace", 0), ("base", "accumulate", 0)}
    assert kept == scratch | tuned | {("scratch", "replace", 0.25)}
    for config in configs:  # the end of each generation is measured
        length = config.source.updates(0, config.sampling.batch_size)
        assert length % config.evaluation.every == 0
        assert length >= 5 * config.probe.every  # whose pool is of one generation
        assert (config.sampling.temperature, config.sampling.top_k) == (1, None)
