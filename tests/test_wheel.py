"""The wheel holds the package, its presets and one short text, and nobody's weights."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_code_presets_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    inside = [name for name in names if ".dist-info/" not in name]
    assets = [name for name in inside if name.startswith("collapse_lm/report/page/assets/")]
    assert "collapse_lm/report/page/assets/vendor/LICENSE" in assets
    pages = {name for name in inside if Path(name).suffix in (".css", ".js", ".j2")}
    held_out = "collapse_lm/monitor/held_out.txt"  # in the public domain
    rest = {*inside} - {*assets} - pages
    assert held_out in rest
    assert {Path(n).suffix for n in rest - {held_out}} == {".py", ".yaml", ".typed"}
    assert "collapse_lm/config/presets/paper.yaml" in inside
    assert wheel.stat().st_size < 1_000_000  # code and its pages: no model and little text


def test_what_the_wheel_holds_runs(wheel, tmp_path):
    """Import from the unpacked wheel alone, ahead of the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import collapse_lm;"
        "assert collapse_lm.__file__.startswith(sys.argv[1]), collapse_lm.__file__;"
        "from collapse_lm.cli.main import app; app(['report', sys.argv[2], '-o', sys.argv[3]])"
    )
    page = tmp_path / "page.html"
    run = ROOT / "tests" / "golden" / "format1" / "run"
    command = [sys.executable, "-I", "-c", code, *map(str, (tmp_path, run, page))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 run," in done.stdout, done.stderr
    assert "Copyright (c) 2022 Leon Sorokin" in page.read_text(
        "utf-8"
    )  # uPlot's licence asks for it
