"""Golden runs: tokens, losses and summaries as the first released code gave them.

Each network runs in a process of its own whose instructions are pinned (see
golden/record.py), so that every class of processor must give the same numbers.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from golden import record

GOLDEN = Path(record.__file__).parent
PINNED = {**os.environ, **record.PINNED}


def in_pinned_process(*arguments, cwd=None):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=PINNED,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_same(found, wanted):
    assert found["ids"] == wanted["ids"]
    assert found["summary"] == wanted["summary"]
    assert len(found["updates"]) == len(wanted["updates"])
    for update, (now, then) in enumerate(zip(found["updates"], wanted["updates"], strict=True)):
        assert now.keys() == then.keys()
        for name, value in then.items():
            known = None if value is None else pytest.approx(value, rel=3e-5, abs=1e-6)
            assert now[name] == known, (update, name)


@pytest.mark.parametrize("network", record.NETWORKS)
def test_a_golden_run_gives_the_tokens_and_losses_that_it_gave(network):
    found = json.loads(in_pinned_process(GOLDEN / "record.py", network))
    wanted = json.loads((GOLDEN / f"{network}.json").read_text(encoding="utf-8"))
    assert found.keys() == wanted.keys()
    for case, facts in wanted.items():
        assert_same(found[case], facts)
    plain = [found[case]["ids"] for case in ("speculation-off", "speculation-8", "resumed")]
    assert plain == [found["full"]["ids"]] * 3


@pytest.fixture
def format1(tmp_path):
    """A copy of the run, the sweep and the model that the first released code left."""
    return Path(shutil.copytree(GOLDEN / "format1", tmp_path / "format1"))


def test_a_run_of_format_1_is_extended_as_if_never_interrupted(format1):
    words = ("-m", "collapse_lm", "resume", "run", "--set", "run.max_updates=6")
    in_pinned_process(*words, cwd=format1)
    told = (
        "import json, sys, collapse_lm; from golden import record; "
        "print(json.dumps(record.facts(collapse_lm.resume('run'))))"
    )
    path = f"import sys; sys.path.insert(0, {str(GOLDEN.parent)!r}); "
    found = json.loads(in_pinned_process("-c", path + told, cwd=format1))
    assert_same(found, json.loads((GOLDEN / "format1.json").read_text(encoding="utf-8")))


def test_a_sweep_of_format_1_finds_its_three_runs_done(format1):
    told = in_pinned_process(
        "-m", "collapse_lm", "sweep", "rates.yaml", "--out", "sweep", cwd=format1
    )
    assert "3 runs, 3 done before" in told
    assert len(list((format1 / "sweep" / "runs").iterdir())) == 3
    assert (format1 / "sweep" / "figures" / "survival.svg").is_file()


@pytest.mark.parametrize("word", ["run.checkpoint_every=5", "run.export_model=true"])
def test_it_does_so_also_where_what_decides_no_number_is_another(word, format1):
    words = ("sweep", "rates.yaml", "--out", "sweep", "--set", word, "--dry-run")
    told = in_pinned_process("-m", "collapse_lm", *words, cwd=format1)
    assert told.count("  done  4 updates") == 3


def test_runs_of_format_1_are_listed(format1):
    rows = json.loads(in_pinned_process("-m", "collapse_lm", "ls", ".", "--json", cwd=format1))
    assert [row["status"] for row in rows] == ["finished"] * 4
    assert sorted(row["learning_rate"] for row in rows) == [1e-3, 1e-2, 1e-2, 3e-2]
