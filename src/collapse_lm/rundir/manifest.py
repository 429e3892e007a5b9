"""The manifest of a run: all that is needed to know what it was, to repeat it or go on."""

import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from collapse_lm._util.paths import current_folder
from collapse_lm.config import IDENTITY_VERSION, Config, identity
from collapse_lm.config.precision import PHASES, by_phase, together
from collapse_lm.corpora.corpus import Corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import Problem, UserError
from collapse_lm.experiment.build import Parts, decode
from collapse_lm.machine.compute import Phases, choose_device
from collapse_lm.machine.processor import processor
from collapse_lm.measures.human import human_values
from collapse_lm.rundir.layout import MANIFEST
from collapse_lm.rundir.resume import Resumable, damage
from collapse_lm.rundir.rows import FORMAT_VERSION

_LOG = logging.getLogger(__name__)
_SAME = "restore it, or resume where the run began, or start a new run"
_PACKAGES = ("collapse-lm", "torch", "transformers", "numba")  # what decides a run's numbers


def describe(config: Config, parts: Parts) -> dict[str, Any]:
    """Build the manifest: all that is needed to know what a run was, or to repeat it."""
    return {
        "format_version": FORMAT_VERSION,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "identity_version": IDENTITY_VERSION,
        "config_sha256": identity(config),
        "model": asdict(parts.model.provenance),
        "folder": current_folder(),
        "start_token": parts.context.start_token,
        "prompts_sha256": parts.context.prompts.sha256,
        "corpora": [describe_corpus(data) for data in parts.evaluation],
        "corpora_of_parts": list(map(_described, parts.context.corpora_read.values())),
        **human_reference(parts),
        "precision": together(parts.phases.words),
        "precision_reasons": dict(parts.phases.reasons),
        "inference": dict(parts.state.models.sampler.describe()),
        "evaluation_inference": dict(parts.state.models.evaluator.describe()),
        "step_precision": parts.experiment.learner.compute.precision,
        **environment(parts.phases.device),
        "git_commit": git_commit(),
        "process": os.getpid(),
    }


def made_here(device: torch.device) -> dict[str, Any]:
    """When, where and with which code something that is no run was done."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        **environment(device),
        "git_commit": git_commit(),
    }


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware and software, which may change the last digits of a run."""
    return {
        "device": device_name(device),
        "device_type": device.type,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: package_version(name) for name in _PACKAGES},
    }


def phases_of(manifest: Mapping[str, Any], device: str = "auto") -> Phases:
    """The precision and kind of device that a run began with, whatever `auto` is today.

    Args:
        manifest: of the run.
        device: which one of that kind, as a configuration names it.

    Raises:
        UserError: where this machine does not have that kind of device.
    """
    name = str(manifest.get("device", "CPU"))
    kind = str(manifest.get("device_type", "cpu" if name.startswith("CPU") else "cuda"))
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError.single(
            "device",
            "no CUDA device here",
            f"{name}, as the run began",
            "resume it on such a machine",
        )
    word = device if device.partition(":")[0] == kind else kind
    reasons = dict.fromkeys(PHASES, "as the run began")
    return Phases(choose_device(word), **by_phase(manifest["precision"]), reasons=reasons)


def check_same_inputs(run: Resumable, parts: Parts) -> None:
    """Refuse to go on with another model, tokenizer, text or prompts; tell of other software.

    Raises:
        UserError: naming every input that is not what it was.
    """
    now, then = describe(run.config, parts), run.manifest
    with damage(run.path / MANIFEST):
        pairs = [("model weights", then["model"]["sha256"], now["model"]["sha256"])]
        pairs += _file_pairs(then["model"].get("files"), now["model"]["files"])
        corpora = {corpus["name"]: corpus["sha256"] for corpus in then["corpora"]}
        for corpus in now["corpora"]:
            name = corpus["name"]
            pairs.append((f"corpus {name}", corpora.get(name), corpus["sha256"]))
        if "corpora_of_parts" in then:
            read = {corpus["name"]: corpus["sha256"] for corpus in then["corpora_of_parts"]}
            for corpus in now["corpora_of_parts"]:
                name = corpus["name"]
                pairs.append((f"corpus {name}", read.get(name), corpus["sha256"]))
        for key in ("prompts_sha256", "start_token"):
            if key in then:
                pairs.append((key, then[key], now[key]))
    problems = [
        Problem(where, str(given), f"{before}, as the run began", _SAME)
        for where, before, given in pairs
        if before != given
    ]
    if problems:
        raise UserError(problems)
    told = {"inference": now["inference"], **environment(parts.phases.device)}
    for name, value in told.items():
        if name in then and then[name] != value:
            message = "%s was %s and is %s: what follows may differ in the last digits"
            _LOG.warning(message, name, then[name], value)


def _file_pairs(then: Any, now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Each file of the model as it was and as it is; an earlier release noted none."""
    if then is None:
        return []
    pairs = [(name, then.get(name), now.get(name)) for name in sorted({*then, *now})]
    return [
        (f"model file {name}", str(before or "no such file"), str(given or "no such file"))
        for name, before, given in pairs
    ]


def describe_corpus(data: EvaluationSet) -> dict[str, Any]:
    """What must be known of a corpus and its windows to compare a loss on it."""
    return {
        **_described(data.corpus),
        "tokens": data.split_tokens,
        "context": data.context,
        "stride": data.stride,
        "start_token": "every" if data.restarts else "first",
        "windows": len(data.windows),
        "scored_tokens": data.tokens,
        "scored_bytes": data.scored_bytes,
        "scored_words": data.scored_words,
    }


def _described(corpus: Corpus) -> dict[str, Any]:
    """A text and where it was read, without the text."""
    return {
        "name": corpus.name,
        "source": corpus.source,
        "revision": corpus.revision,
        "sha256": corpus.sha256,
        "form": corpus.form,
        "licence": corpus.licence,
    }


def human_reference(parts: Parts) -> dict[str, Any]:
    """The text metrics of the first corpus, in windows as long as a sample.

    Nothing where there is no corpus, or one that is shorter.
    """
    config = parts.context.config
    length, samples = config.sampling.max_new_tokens, config.sampling.batch_size
    for data in parts.evaluation[:1]:
        ids = data.ids[1:].tolist()  # without the start token
        values, count = human_values(
            ids, length, lambda part: decode(parts.model, part), config.probe.samples or samples
        )
        if count:
            return {"human": values, "human_windows": count}
    return {}


def device_name(device: torch.device) -> str:
    """Name the processor that does the work."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def package_version(package: str) -> str | None:
    """Installed version of a package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Commit of the checkout that this code runs from, None where git does not track it."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        for command in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            result = subprocess.run(
                [*git, *command], capture_output=True, text=True, timeout=5, check=True
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
