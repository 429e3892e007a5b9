"""What this machine can do: hardware, precision, missing parts, seconds per update.

The seconds are measured, not guessed: a few tokens, one step and one evaluation of
the configured model on this machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec

import psutil
import torch

from collapse_lm import rng
from collapse_lm.config import Config
from collapse_lm.corpora import corpus, hub
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import Parts, prepare
from collapse_lm.experiment.learner import train_step
from collapse_lm.experiment.segments import Segment
from collapse_lm.machine.compute import choose_device, left_unused
from collapse_lm.machine.doctor_lines import DoctorLine
from collapse_lm.machine.processor import OtherWork, processor, seconds_of, told_if_busy
from collapse_lm.measures.validation import evaluate
from collapse_lm.models import packaged
from collapse_lm.rundir.manifest import device_name
from collapse_lm.sampling import sample

_PROBE_TOKENS = 24
_WHY_UNUSED = (
    "no run has been compared with the CPU's on it, and releases of torch have given wrong "
    "numbers there without an error"
)


def examine(config: Config) -> Iterator[DoctorLine]:
    """Yield findings one by one; the last is the measured cost of the configuration."""
    yield from _hardware(config)
    yield from _parts()
    try:
        parts = prepare(config)
    except UserError as error:
        for problem in error.problems:
            yield DoctorLine(problem.where, f"got {problem.got}", problem.fix or problem.expected)
        return
    for phase, word in parts.phases.words.items():
        yield DoctorLine(phase, f"in {word}: {parts.phases.reasons[phase]}")
    work = OtherWork()
    yield DoctorLine("update", str(measure_update(config, parts)))
    if told := told_if_busy(work.cores()):
        yield DoctorLine("quiet", told, "measure again once the other work has ended")


def _hardware(config: Config) -> Iterator[DoctorLine]:
    device = choose_device(config.device)
    memory = psutil.virtual_memory()
    yield DoctorLine("device", f"{device_name(device)}, {torch.get_num_threads()} threads")
    if other := left_unused(device):
        yield DoctorLine("accelerator", f"{other} is left unused, and the CPU taken: {_WHY_UNUSED}")
    yield DoctorLine("processor", processor())
    yield DoctorLine("memory", f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free")


def _parts() -> Iterator[DoctorLine]:
    is_packaged = packaged.packaged_file() is not None and find_spec("gguf") is not None
    yield DoctorLine(
        "model",
        "smollm2-135m is packaged" if is_packaged else "smollm2-135m is not installed",
        None if is_packaged else packaged.INSTALL,
    )
    for info in corpus.list_corpora():
        yield DoctorLine(f"{info.name}", info.ready or "not on this machine", info.needs)
    has_hub = find_spec("datasets") is not None
    yield DoctorLine(
        "hub",
        "datasets is installed" if has_hub else "the package datasets is missing",
        None if has_hub else hub.INSTALL,
    )


@dataclass(frozen=True)
class UpdateCost:
    """Expected seconds of the phases of an update, each evaluation in full."""

    sample: float
    train: float
    evaluate: float
    every: int

    @property
    def total(self) -> float:
        """Seconds of an update."""
        return self.sample + self.train + self.evaluate / self.every

    def __str__(self) -> str:
        return (
            f"about {_rounded(self.total)} s: sample {_rounded(self.sample)} (at most), "
            f"train {_rounded(self.train)}, evaluate {_rounded(self.evaluate)} "
            f"(every {self.every})"
        )


def measure_update(config: Config, parts: Parts) -> UpdateCost:
    """Measure the three phases of an update on a small piece of each."""
    models, sampling = parts.state.models, config.sampling
    tokens = min(_PROBE_TOKENS, sampling.max_new_tokens)  # the model may have positions for these
    numbers = rng.uniforms(rng.stream(0, "sample"), sampling.batch_size, tokens)
    is_sliding = sampling.context == "sliding"
    block_size = sampling.block_size if is_sliding else None
    prompt = [parts.model.start_token] * (block_size or 1)
    filters = parts.context.sampling().filters
    sample_s = seconds_of(
        lambda: sample(models.sampler, prompt, numbers, filters, block_size=block_size)
    )
    sample_s *= sampling.max_new_tokens / tokens
    length = config.training.window or sampling.max_new_tokens
    segments = [Segment((prompt[0],), (prompt[0],) * length)] * sampling.batch_size
    optimizer = torch.optim.AdamW(models.trained.parameters(), lr=0.0, fused=True)
    learner = parts.experiment.learner
    asked = learner.asked(models, update=1)
    train_s = seconds_of(
        lambda: train_step(models.trained, optimizer, segments, learner.compute, None, asked)
    )
    evaluate_s = 0.0
    for data in parts.evaluation:
        small = replace(data, windows=data.windows[:4])
        share = sum(w.inputs for w in data.windows) / sum(w.inputs for w in small.windows)
        evaluate_s += share * seconds_of(
            lambda small=small: evaluate(models.evaluator, small)  # type: ignore[misc]
        )
    steps = config.training.steps_per_update
    return UpdateCost(sample_s, steps * train_s, evaluate_s, config.evaluation.every)


def _rounded(value: float) -> str:
    digits = max(0, 1 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"
