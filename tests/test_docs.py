"""README and docs are true of the code: commands parse, keys exist, links lead somewhere."""

import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from collapse_lm.analysis.columns import columns_table
from collapse_lm.cli.main import app
from collapse_lm.config import load_config, preset_names, resolve
from collapse_lm.measures.names import names_table
from collapse_lm.sweeps import load_sweep, plan_sweep

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


def blocks(page, language=""):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def commands(page):
    lines = [line for block in blocks(page) for line in block.splitlines()]
    return [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("collapse-lm ")
    ]


@pytest.mark.parametrize("words", commands(ROOT / "README.md"), ids=" ".join)
def test_commands_of_the_readme_parse_and_their_keys_exist(words):
    command = get_command(app).commands[words[0]]
    if words[0] == "config":
        command, words = command.commands[words[1]], words[1:]
    command.make_context(words[0], list(words[1:]))  # parses, and does not run
    settings = [after for word, after in itertools.pairwise(words) if word == "--set"]
    settings = [setting.replace("my-package", "collapse-lm-plugin") for setting in settings]
    if words[0] == "run":
        load_config(words[1], settings)
    elif settings:
        resolve({}, settings)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known | {"--set"}


def test_the_readme_covers_every_command_and_preset():
    text = (ROOT / "README.md").read_text("utf-8")
    assert all(f"collapse-lm {name}" in text for name in get_command(app).commands)
    assert all(f"| `{name}` |" in text for name in preset_names())


def test_the_yaml_of_the_readme_loads(tmp_path):
    mine, sweep = blocks(ROOT / "README.md", "yaml")
    (tmp_path / "mine.yaml").write_text(mine)
    assert load_config(tmp_path / "mine.yaml").sampling.batch_size == 4
    (tmp_path / "rates.yaml").write_text(sweep)
    assert len(plan_sweep(load_sweep(str(tmp_path / "rates.yaml"))).runs) == 9


def test_the_design_lists_every_key():
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    ours = "from collapse_lm.config.keys import dotted_keys; print(*dotted_keys())"
    done = subprocess.run([sys.executable, "-c", ours], capture_output=True, text=True, check=True)
    names = {key.rpartition(".")[2] for key in done.stdout.split()}  # no other package's
    assert "temperature" in names
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)] == []


def test_the_names_of_rows_are_rendered_from_the_code():
    text = (ROOT / "docs" / "run-format.md").read_text("utf-8")
    table = text.partition("<!-- names -->\n")[2].partition("<!-- /names -->")[0]
    assert table.splitlines() == list(names_table())


def test_the_columns_of_tables_are_rendered_from_the_code():
    text = (ROOT / "docs" / "run-format.md").read_text("utf-8")
    table = text.partition("<!-- columns -->\n")[2].partition("<!-- /columns -->")[0]
    assert table.splitlines() == list(columns_table())


def test_the_source_of_the_docs_is_the_example_that_is_tested():
    example = (ROOT / "examples" / "real_text.py").read_text("utf-8")
    (code,) = [
        block for block in blocks(ROOT / "docs" / "extending.md", "python") if "RealText" in block
    ]
    body = example[example.index("from functools") : example.index("\n\nif __name__")]
    assert code.strip() == body.replace("import sys\n", "").strip()
    source = code[code.index("class RealText") : code.index("def main")]
    assert len(source.strip().splitlines()) <= 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page):
    text = page.read_text("utf-8")
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_the_numbers_of_the_reproduction_are_rendered_from_its_tables():
    path = ROOT / "docs" / "scripts" / "render_reproduction.py"
    spec = importlib.util.spec_from_file_location("render_reproduction", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.results(script.DATA) in script.PAGE.read_text("utf-8")


def test_nothing_is_left_to_fill_in():
    assert [page.name for page in PAGES if "@@" in page.read_text("utf-8")] == []
