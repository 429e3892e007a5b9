"""The scripts of the report page: their pure parts run in node, where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[1] / "src" / "collapse_lm" / "report" / "page" / "assets"
TESTS = sorted((Path(__file__).parent / "js").glob("*.test.js"))
NODE = shutil.which("node")
OURS = [path for path in sorted(ASSETS.glob("*")) if path.suffix in {".js", ".css"}]


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_pure_parts_of_the_scripts(path: Path) -> None:
    answer = subprocess.run([str(NODE), str(path)], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_order_names_every_file_once_and_no_other() -> None:
    order = (ASSETS / "ORDER").read_text().split()
    vendored = [f"vendor/{path.name}" for path in (ASSETS / "vendor").glob("*.min.*")]
    assert sorted(order) == sorted([*(path.name for path in OURS), *vendored])


def test_no_script_makes_elements_from_text() -> None:
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    )
    for path in OURS:
        text = path.read_text()
        assert [word for word in forbidden if word in text] == [], path.name


def test_the_scripts_are_small_and_the_vendored_one_has_its_licence() -> None:
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 280_000
    assert "MIT" in (ASSETS / "vendor" / "LICENSE").read_text()
