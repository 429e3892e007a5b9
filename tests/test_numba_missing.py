"""numba is imported for machine code only, and without it all works."""

import os
import subprocess
import sys

import pytest

from collapse_lm.inference.cpu import requirements

from commands import settings

HIDE = "import sys; sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
RUN = "from collapse_lm.cli.main import main; main()"
NOTICE = "pip install numba"

needs_kernels = pytest.mark.skipif(
    not requirements.can_compile(), reason="the kernels need numba, and torch on GNU's OpenMP"
)


def python(code, *arguments):
    """Run code in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


NETWORKS = """
import logging, sys
from transformers import AutoModelForCausalLM
from collapse_lm.inference import inference_network
logging.basicConfig(level="INFO")
master = AutoModelForCausalLM.from_pretrained(sys.argv[1])
for precision in sys.argv[2:]:
    print(type(inference_network(master, precision)).__name__)
print("numba is", "imported" if sys.modules.get("numba") else "not imported")
"""


@pytest.mark.parametrize("module", ["collapse_lm", "collapse_lm.inference", "collapse_lm.cli.main"])
def test_an_import_does_not_import_numba(module):
    code = f"import sys, {module}; print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    assert python(code).split() == ["False", "False"]


@needs_kernels
def test_numba_is_imported_where_machine_code_was_chosen(gpt2_dir):
    assert "FastNetwork\nnumba is not imported" in python(NETWORKS, gpt2_dir, "float32")
    found = python(NETWORKS, gpt2_dir, "float32", "bfloat16")
    assert "FastNetwork\nCompiledNetwork\nnumba is imported" in found


def test_a_float32_run_does_not_import_numba(tiny_overrides, tmp_path):
    tell = "import atexit, sys; atexit.register(lambda: print('imported:', 'numba' in sys.modules))"
    overrides = settings([*tiny_overrides, "run.max_updates=1"])
    found = python(f"{tell}\n{RUN}", "run", "quickstart", "--out", tmp_path / "run", *overrides)
    assert "imported: False" in found.splitlines()
    assert NOTICE not in found


@needs_kernels
def test_a_bfloat16_run_without_numba_works_and_says_so_once(tiny_overrides, tmp_path):
    overrides = settings([*tiny_overrides, "precision=bfloat16", "run.max_updates=2"])
    found = python(HIDE + RUN, "run", "quickstart", "--out", tmp_path / "run", *overrides)
    assert found.count(NOTICE) == 1
    rows = (tmp_path / "run" / "updates.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3  # the base model's, and one of each update


@needs_kernels
def test_several_networks_without_numba_say_so_once(gpt2_dir):
    found = python(HIDE + NETWORKS, gpt2_dir, "bfloat16", "bfloat16")
    assert "FastNetwork\nFastNetwork\nnumba is not imported" in found
    assert found.count(NOTICE) == 1
