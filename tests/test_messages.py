"""What a message says under its headings: what is expected, and what mends it."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import collapse_lm
from collapse_lm._util.extras import install
from collapse_lm.errors import UserError

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
COMMANDS = re.compile(r"pip install|collapse-lm (run|resume|ls|pretrain|parts|config)|^--[a-z]")


def expectations():
    """The third argument of every problem that the code tells, with its place."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and len(node.args) > 2
            if is_call and ast.unparse(node.func) in {"UserError.single", "Problem"}:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.args[2])


def test_what_is_expected_is_never_a_command():
    found = dict(expectations())
    assert len(found) > 100
    commands = {
        place: told
        for place, told in found.items()
        if COMMANDS.search(told.strip("'\"f")) or "INSTALL" in told or "install(" in told
    }
    assert commands == {}


def test_an_extra_is_installed_by_one_command_everywhere():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert install("ray") == "pip install 'collapse-lm[ray]'"
    packages = {
        re.split(r"[><=]", word)[0] for name in ("embedded", "hub", "ray") for word in extras[name]
    }
    told = re.compile(r"pip install(?! --force-reinstall)[^\n]*")
    pages = [*SOURCES, ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in pages:
        for line in told.findall(path.read_text(encoding="utf-8")):
            assert not [name for name in packages if f" {name}" in line or f"'{name}" in line], path
            for name in re.findall(r"collapse-lm\[(\w+)\]", line):
                assert install(name) in line


def test_a_folder_that_holds_a_run_is_told_how_to_go_on(tiny_overrides, tmp_path):
    words = [*tiny_overrides, "run.max_updates=0"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    with pytest.raises(UserError) as caught:
        collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    (problem,) = caught.value.problems
    assert problem.fix.startswith(f"`collapse-lm resume {tmp_path / 'r'}`")
    assert "--resume" in problem.fix
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UserError) as caught:
        collapse_lm.run("quickstart", tmp_path / "other", overrides=words)
    assert caught.value.problems[0].fix == "choose another --out"
