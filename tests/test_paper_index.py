"""The paper index: what it lists exists, and its numbers are those of the committed tables."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from collapse_lm.cli.main import app
from collapse_lm.config import load_config
from collapse_lm.config.load import preset_names

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS / "scripts"))


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def index():
    return script("render_paper_index")


@pytest.fixture
def docs(tmp_path):
    """Docs without any result."""
    (tmp_path / "results").mkdir()
    return tmp_path


def entry(index, name):
    return next(one for one in index.entries() if one["name"] == name)


def test_the_page_is_what_the_tables_give(index):
    page = index.PAGE.read_text("utf-8")
    assert f"{index.BEGIN}\n{index.render(DOCS)}\n{index.END}" in page


def test_every_command_preset_and_key_exists(index):
    commands, presets = get_command(app).commands, {*preset_names()}
    for one in index.entries():
        for use in one["use"]:
            words = use.split()
            if "=" in words[0]:
                load_config("quickstart", [use] if "source" not in use else [GENERATIONS, use])
                continue
            assert words[0] in commands
            if words[0] == "run":
                assert words[1] in presets
        assert {*one.get("presets", ())} <= presets


GENERATIONS = "source={kind: generations, texts: 8, generations: 1}"


def test_every_preset_of_a_paper_is_listed(index):
    named = {word for one in index.entries() for use in one["use"] for word in use.split()}
    assert {*preset_names()} - named == {"quickstart"}


def test_every_entry_tells_what_differs_and_where_a_number_was_read(index):
    for one in index.entries():
        text = index.section(one, DOCS)
        assert text.count("\n- ") >= 3, one["name"]
        assert all(fact["from"] for fact in one["reported"])
        assert set(one["measured"]) <= set(index.MEASURED)


def test_deviations_of_a_preset_are_those_of_its_header(index):
    found = index.header("shumailov-2024")
    assert found[0].startswith("Repetition penalty 3.0 is the code's")
    assert found[-1].endswith("the error tells how many.")
    assert not any("--set" in line or line.startswith("Small") for line in found)


def test_without_tables_nothing_was_run(index, docs):
    text = index.render(docs)
    assert "| yes |" not in text
    assert text.count("- Not run here") == len(index.entries())
    assert "- Not run here. The published size wants a GPU, OPT-125m" in text


def test_tables_of_presets_and_of_evaluations_are_told(index, docs, tmp_path):
    runs = {"ssd-trl": RUN}
    told = {"started": "2026-11-28T00:00:00", "processor": "a processor", "presets": runs}
    (docs / "results" / "presets").mkdir()
    (docs / "results" / "presets" / "presets.json").write_text(json.dumps(told))
    text = " ".join(index.render(docs).split())
    assert "`ssd-trl` at an embedded size (ladder:32x2, 6 updates): 12 s, finished" in text
    assert "5.000 to 6.000 nats per token on sotu" in text
    keep = script("evaluations")
    for name, settings, summary in (("cache", CACHE, CACHED), ("ngrams", NGRAMS, DRAWN)):
        source = tmp_path / f"{name}-run"
        source.mkdir()
        (source / "settings.json").write_text(json.dumps(settings))
        machine = dict.fromkeys(keep.MADE, "here")
        (source / "machine.json").write_text(json.dumps(machine))
        (source / "summary.json").write_text(json.dumps(summary))
        keep.main([str(source), name, "--results", str(docs / "results")])
    text = " ".join(index.render(docs).split())
    assert "tiny with a cache of 500 on 2,000 tokens of sotu" in text
    assert "-0.1235 (-0.2000 to -0.0500) at context 200, -0.0500 (-0.1000 to 0.0100) at 512" in text
    assert "25.0% of the tokens were in the cache" in text
    assert "order 2: 1,000 tokens 900, 10,000 tokens 500.1; of the model itself 40.5" in text


RUN = {
    **{"model": "ladder:32x2", "updates": 6, "seconds": 12.3, "status": "finished"},
    **{"corpus": "sotu", "start": 5.0, "end": 6.0},
}
ABOUT = {"model": {"reference": "tiny"}, "corpus": {"name": "sotu"}}
CACHE = {"evaluation": "cache-eval", **ABOUT}
CACHED = {
    **{"cache": 500, "tokens": 2000, "static_context": 200, "longest_context": 512},
    **{"difference": -0.123456, "difference_lower": -0.2, "difference_upper": -0.05},
    **{"difference_longest": -0.05, "difference_lower_longest": -0.1},
    **{"difference_upper_longest": 0.01, "cached_share": 0.25},
}
NGRAMS = {"evaluation": "ngram-eval", **ABOUT}
DRAWN = {
    "ngrams": {"2": {"1000": {"perplexity": 900.0}, "10000": {"perplexity": 500.123}}},
    "static_perplexity": 40.5,
}


def test_the_numbers_of_the_reproduction_are_counted(index, docs):
    shutil.copytree(DOCS / "reproduction", docs / "reproduction")
    text = index.section(entry(index, "Self-training on one's own samples"), docs)
    claims = json.loads((DOCS / "reproduction" / "claims.json").read_text("utf-8"))
    supported = sum(claim["verdict"] == "supported" for claim in claims)
    assert re.search(rf"Of {len(claims)} claims, .* {supported} supported", text, re.S)


def test_the_small_command_of_a_header_is_read(tmp_path):
    measure = script("measure_presets")
    words = measure.small("ssd-paper", tmp_path / "p.jsonl")
    assert "model=ladder:32x2" in words
    assert f"sampling.prompts={tmp_path / 'p.jsonl'}" in words
    lines = [json.loads(line)["prompt"] for line in measure.prompt_lines()]
    assert (len(lines), {len(line) for line in lines}) == (32, {60})
    for name in measure.NAMES:
        assert load_config(name, measure.small(name, tmp_path / "p.jsonl")).model == "ladder:32x2"
