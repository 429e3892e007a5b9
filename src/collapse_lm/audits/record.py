"""The record of an audit: a run directory, so that report, view, ls and export read it."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from collapse_lm._util.files import writing
from collapse_lm.audits.groups import Group
from collapse_lm.audits.levels import Human
from collapse_lm.config import IDENTITY_VERSION, Config, identity, resolve, to_yaml
from collapse_lm.config.sections import CollapseRule
from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.endings import Profile
from collapse_lm.measures.names import Row
from collapse_lm.rundir.layout import MANIFEST, SUMMARY, RunDirectory
from collapse_lm.rundir.lock import only_writer
from collapse_lm.rundir.manifest import environment, git_commit
from collapse_lm.rundir.recorder import Recorder, empty
from collapse_lm.rundir.rows import FORMAT_VERSION
from collapse_lm.rundir.summary import Summing, entered_states

MADE_BY = "audit"
ORIGIN = "audited"
_DIGITS = 6


def write_record(
    place: Path,
    name: str,
    rows: Sequence[Row],
    groups: Sequence[Group],
    rule: CollapseRule,
    human: Human,
    found: Mapping[str, Any],
    endings: Profile,
) -> None:
    """Write a run directory.

    Args:
        place: new, or an empty folder.
        name: of what was audited.
        rows: row 0, and one per group.
        groups: with the texts that are shown.
        rule: thresholds.
        human: human text.
        found: of the audit, for the manifest: `verdict`, `command`, ...
        endings: the states.

    Raises:
        UserError: for a place that is in use.
        MachineError: where the disk fails.
    """
    config = resolve({"model": name, "collapse": rule.model_dump()})
    manifest = {**_manifest(config, name, rows, groups, human), **found}
    RunDirectory.check_free(place)
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    with only_writer(place):
        directory = RunDirectory.create(place, to_yaml(config), manifest)
        recorder, summing = Recorder(place, empty()), Summing(config.collapse)
        texts = [Batch(), *(_texts(group) for group in groups)]
        for row, batch in zip(rows, texts, strict=True):
            recorder.update(Record(row, Batch(), batch))
            summing.take(row)
        told = {"endings": endings, "reason": found["verdict"]}
        directory.write_json(SUMMARY, {**summing.result("finished", None), **told})
        ending = {"status": "finished", "states": entered_states(told)}
        directory.write_json(MANIFEST, {**manifest, **ending})


def _manifest(
    config: Config, name: str, rows: Sequence[Row], groups: Sequence[Group], human: Human
) -> dict[str, Any]:
    known = {n: round(v, _DIGITS) for n, v in human.values.items() if math.isfinite(v)}
    return {
        "format_version": FORMAT_VERSION,
        "made_by": MADE_BY,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "identity_version": IDENTITY_VERSION,
        "config_sha256": identity(config),
        "model": {"reference": name, "kind": "texts", "location": "", "sha256": _digest(groups)},
        "groups": {
            str(row.update): str(group.key) for row, group in zip(rows[1:], groups, strict=True)
        },
        "corpora": [],
        "precision": "float32",
        **({"human": known, "human_windows": human.windows} if human.windows else {}),
        "human_text": human.name,
        **environment(torch.device("cpu")),
        "git_commit": git_commit(),
    }


def _digest(groups: Sequence[Group]) -> str:
    """A hash of all texts, so that audits of different texts are no runs of one model."""
    total = sha256()
    for group in groups:
        total.update(group.digest)
    return total.hexdigest()


def _texts(group: Group) -> Batch:
    return Batch(
        tuple(
            Text((), tuple(map(int, ids)), ORIGIN, entry.text, prompt_text=entry.prompt)
            for entry, ids in group.shown
        )
    )
