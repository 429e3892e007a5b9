"""What a monitor's record says of the model, the text and the machine."""

from dataclasses import asdict
from typing import Any

import torch

from collapse_lm.config.precision import PHASES
from collapse_lm.measures.human import human_values
from collapse_lm.models.load import LanguageModel
from collapse_lm.monitor.held_out import HeldOut
from collapse_lm.monitor.probe import Prober
from collapse_lm.rundir.manifest import describe_corpus, environment, git_commit

_KL = "log-probabilities of the next token at fixed prefixes, kept from the baseline"


def unknown_model(name: str) -> dict[str, Any]:
    """The manifest before a model was seen."""
    model = {"reference": name, "kind": "memory", "location": "", "sha256": ""}
    return {
        "model": model,
        "corpora": [],
        "precision": "float32",
        **environment(torch.device("cpu")),
        "git_commit": git_commit(),
    }


def described(
    model: LanguageModel, prober: Prober, held_out: HeldOut | None, step: int
) -> dict[str, Any]:
    """What is known of a model with its baseline.

    Args:
        model: as it is read.
        prober: draws its samples.
        held_out: the text that is scored.
        step: of the baseline.
    """
    device, dtype = model.network.device, next(model.network.parameters()).dtype
    word = "bfloat16" if dtype in (torch.bfloat16, torch.float16) else "float32"
    return {
        "model": asdict(model.provenance),
        "baseline_step": step,
        "start_token": model.start_token,
        "prompts": [list(ids) for ids in dict.fromkeys(prober.sampling.prompts.ids)],
        "corpora": [describe_corpus(held_out.data)] if held_out else [],
        "kl_to_start": _KL if held_out else None,
        "precision": dict.fromkeys(PHASES, word),
        **_human(model, prober, held_out),
        **environment(device),
    }


def _human(model: LanguageModel, prober: Prober, held_out: HeldOut | None) -> dict[str, Any]:
    """The text metrics of the held-out text, in windows as long as a sample."""
    if held_out is None:
        return {}
    sampling = prober.config.sampling
    ids = held_out.data.ids[1:].tolist()
    values, count = human_values(
        ids, sampling.max_new_tokens, lambda part: prober.decoded([part])[0], sampling.batch_size
    )
    return {"human": values, "human_windows": count} if count else {}
