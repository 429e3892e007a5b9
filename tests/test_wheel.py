"""The wheel holds the package and its presets, and no text or weights of anybody."""

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
    assert {Path(name).suffix for name in inside} == {".py", ".yaml", ".typed"}
    assert "collapse_lm/config/presets/paper.yaml" in inside
    assert wheel.stat().st_size < 600_000  # code alone: no model and no text


def test_what_the_wheel_holds_runs(wheel, tmp_path):
    """Import from the unpacked wheel alone, ahead of the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import collapse_lm;"
        "assert collapse_lm.__file__.startswith(sys.argv[1]), collapse_lm.__file__;"
        "print(len(collapse_lm.load_config('paper').evaluation.corpora))"
    )
    command = [sys.executable, "-I", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr
