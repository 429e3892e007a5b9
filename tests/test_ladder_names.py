"""Models of the ladder by name: where they lie, that they are made once, and what is refused."""

import json
import subprocess

import pytest

from collapse_lm._util.paths import CACHE_VARIABLE
from collapse_lm.errors import MachineError, UserError
from collapse_lm.models import ladder
from collapse_lm.models.availability import require_model
from collapse_lm.pretraining import texts
from collapse_lm.pretraining.folder import PROVENANCE
from collapse_lm.sweeps import SweepSpec
from collapse_lm.sweeps.check import unmade_models
from collapse_lm.sweeps.job import SweepJob

from hostile import call


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """The commands that were to train a model, which takes minutes; a folder stands for it."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    commands = []

    def train(command, **_options):
        commands.append(command)
        size, out = (command[command.index(name) + 1] for name in ("--sizes", "--out"))
        seed = command[command.index("--seed") + 1]
        folder = tmp_path / out / size
        folder.mkdir(parents=True)
        mark = ladder.rung_of(f"ladder:{size}@{seed}").fingerprint
        (folder / PROVENANCE).write_text(json.dumps({"recipe_sha256": mark}))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(ladder.subprocess, "run", train)
    return commands


def test_a_model_is_made_once_and_found_again(trained, tmp_path):
    first, again = (ladder.prepare("ladder:32x2@3") for _ in range(2))
    assert first == again
    assert len(trained) == 1
    assert trained[0][1:5] == ["-P", "-m", "collapse_lm", "pretrain"]
    assert first.folder.is_relative_to(tmp_path / "cache" / "ladder")
    assert first.folder.name == "32x2"
    require_model("ladder:32x2@3")
    assert len(trained) == 1


def test_the_seed_is_that_of_the_pretraining_and_another_recipe_is_another_model():
    plain, zero, other = (ladder.rung_of(f"ladder:32x2{s}") for s in ("", "@0", "@1"))
    assert plain.folder == zero.folder
    assert other.recipe.seed == 1
    assert len({plain.folder, other.folder, ladder.rung_of("ladder:64x2").folder}) == 3
    assert plain.fingerprint[:12] in plain.folder.parent.name


def test_the_texts_are_read_once_whatever_models_are_asked_for(monkeypatch):
    ladder._packaged_texts.cache_clear()
    read, load = [], texts.load_texts
    monkeypatch.setattr(texts, "load_texts", lambda recipe: read.append(recipe) or load(recipe))
    marks = {ladder.rung_of(f"ladder:32x2@{seed}").fingerprint for seed in (0, 1, 0)}
    assert (len(marks), len(read)) == (2, 1)
    recipe = ladder.rung_of("ladder:32x2@1").recipe
    whole = texts.fingerprint(recipe, recipe.ladder[0], load(recipe))
    assert ladder.rung_of("ladder:32x2@1").fingerprint == whole


def test_a_training_that_fails_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    told = subprocess.CompletedProcess([], 1, "", "the disk is full")
    monkeypatch.setattr(ladder.subprocess, "run", lambda *_args, **_options: told)
    with pytest.raises(MachineError, match="ladder:32x2 could not be made: the disk is full"):
        ladder.prepare("ladder:32x2")


@pytest.mark.parametrize(
    "name", ["ladder:", "ladder:32", "ladder:33x2", "ladder:32x2@", "ladder:a"]
)
def test_a_name_that_means_no_model_is_refused(name):
    with pytest.raises(UserError):
        ladder.rung_of(name)


def test_a_run_with_such_a_name_ends_with_2_and_leaves_nothing(tmp_path):
    done = call("run", "quickstart", "--set", "model=ladder:33x2", "--out", str(tmp_path / "r"))
    assert done.code == 2
    assert "a width of 32, 64" in done.err
    assert not (tmp_path / "r").exists()


def test_a_sweep_knows_which_models_are_yet_to_be_made(trained, tmp_path):
    spec = SweepSpec(grid={"model": ["ladder:32x2", "ladder:32x2@1", "smollm2-135m"]})
    job = SweepJob.of(spec, tmp_path / "out")
    assert unmade_models([job]) == {"ladder:32x2", "ladder:32x2@1"}
    ladder.prepare("ladder:32x2")
    assert unmade_models([job]) == {"ladder:32x2@1"}
