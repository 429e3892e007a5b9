"""Which runs are the same: identities outlive new keys, and name what decides numbers."""

import json
from pathlib import Path

import pytest
from pydantic import Field

from collapse_lm.config import (
    Config,
    SamplingConfig,
    decides_numbers,
    field_of,
    flat,
    identity,
    identity_1,
    load_config,
    preset_names,
)
from collapse_lm.config.fields import OBSERVES
from collapse_lm.config.identity import IDENTITY_VERSION
from collapse_lm.config.keys import dotted_keys

GOLDEN = Path(__file__).parent / "golden"
VARIANTS = {
    **{name: (name, []) for name in preset_names()},
    "hot": ("quickstart", ["sampling.temperature=1.2", "seed=3"]),
    "sgd": ("quickstart", ["training.optimizer={kind: sgd, momentum: 0.9}"]),
    "overlap": ("paper", ["measures=[{kind: overlap, n: 3}]", "probe.every=5"]),
}


class WiderSampling(SamplingConfig):
    epsilon: float | None = None
    """A key that does not exist yet."""


class WiderConfig(Config):
    """The configuration of some later release, with new keys."""

    sampling: WiderSampling = WiderSampling()
    remedy: str = "none"
    """Another one."""
    tracker: str = Field(default="none", json_schema_extra=OBSERVES)
    """One that decides nothing."""


@pytest.mark.parametrize("name", VARIANTS)
def test_a_new_key_changes_no_identity(name):
    config = load_config(*VARIANTS[name])
    later = WiderConfig.model_validate(config.model_dump(mode="json"))
    assert identity(later) == identity(config)
    assert identity(later.model_copy(update={"tracker": "wandb"})) == identity(config)
    assert identity(later.model_copy(update={"remedy": "mix"})) != identity(config)


def test_identities_of_this_version_are_those_that_runs_on_disk_bear():
    wanted = json.loads((GOLDEN / "identities.json").read_text())
    assert wanted["version"] == IDENTITY_VERSION
    found = {name: identity(load_config(*given)) for name, given in VARIANTS.items()}
    assert found == wanted["identities"]


def test_no_default_changes_its_meaning_within_a_version():
    wanted = json.loads((GOLDEN / "identities.json").read_text())["defaults"]
    values = json.loads(json.dumps(flat(Config())))
    assert {key: values[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", preset_names())
def test_identities_of_version_1_are_what_they_were(name):
    wanted = json.loads((GOLDEN / "identities.json").read_text())["version_1"]
    assert identity_1(load_config(name)) == wanted[name]


def test_what_version_1_could_not_say_has_no_identity_there():
    assert identity_1(load_config("quickstart", ["probe.every=2"])) is None
    assert identity_1(load_config("quickstart", ["training.optimizer.kind=sgd"])) is None
    assert identity_1(load_config("quickstart", ["training.betas=[0.5, 0.9]"])) is not None


@pytest.mark.parametrize(
    "change",
    [
        "run.max_updates=7",
        "run.max_minutes=3",
        "run.checkpoint_every=2",
        "run.checkpoints_kept=5",
        "run.export_model=true",
        "run.trackers=[tensorboard]",
        "observers=[]",
    ],
)
def test_what_decides_no_number_is_no_part_of_the_identity(change):
    assert identity(load_config("quickstart", [change])) == identity(load_config("quickstart"))


def test_every_key_of_what_runs_compute_counts():
    observing = {key for key in dotted_keys() if not decides_numbers(field_of(key))}
    assert "source.generations" in observing  # which is the length of such a run
    observing = {key for key in observing if not key.endswith(".generations")}
    assert observing == {
        *("run.max_updates", "run.max_minutes", "run.checkpoint_every", "run.checkpoints_kept"),
        *("run.export_model", "observers", "device", "run.threads"),
        *("run.trackers", "run.report"),
        *(f"collapse.{key}" for key in ("drift", "overlap", "distinct", "short")),
        *("collapse.low_entropy", "collapse.high_entropy"),
    }


@pytest.mark.parametrize(
    "change",
    ["seed=1", "training.optimizer.kind=sgd", "probe.every=2", "measures=[overlap]", "top_k=null"],
)
def test_what_decides_numbers_is(change):
    change = change.replace("top_k", "sampling.top_k")
    assert identity(load_config("quickstart", [change])) != identity(load_config("quickstart"))


def test_a_default_that_is_written_out_is_the_default():
    written = load_config("quickstart", ["source.kind=own", "training.optimizer.kind=adamw"])
    assert identity(written) == identity(load_config("quickstart"))
