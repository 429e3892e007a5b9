"""Which device and number formats the work runs in, decided once at the start of a run.

The master weights are float32 in any case. In bfloat16, samples are drawn and losses
measured from a copy of the matrices (see `inference`), and a step runs under autocast.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch

from collapse_lm.config.precision import PHASES
from collapse_lm.errors import UserError

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Compute:
    """A device and the precision of the forward pass of a step."""

    device: torch.device
    precision: Precision

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a training forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


@dataclass(frozen=True)
class Phases:
    """A device, and the number format of each phase of an update.

    Attributes:
        device: that does the work.
        sampling: of the weights that samples are drawn from.
        training: of a step's products.
        evaluation: of validation losses.
        reasons: why, by phase.
        emulated: phases in bfloat16 whose products the hardware emulates.
    """

    device: torch.device
    sampling: Precision
    training: Precision
    evaluation: Precision
    reasons: Mapping[str, str] = field(default_factory=dict)
    emulated: tuple[str, ...] = ()

    @property
    def steps(self) -> Compute:
        """Device and precision of a step."""
        return Compute(self.device, self.training)

    @property
    def words(self) -> dict[str, Precision]:
        """The number formats by phase."""
        return {phase: getattr(self, phase) for phase in PHASES}


def left_unused(device: torch.device) -> str | None:
    """The accelerator of this machine that the CPU is taken instead of; None without one."""
    found = torch.accelerator.current_accelerator(check_available=True)
    is_other = found is not None and found.type != "cuda"
    return str(found.type) if found is not None and is_other and device.type == "cpu" else None


def choose_device(word: str = "auto") -> torch.device:
    """The device that a word names; auto takes CUDA where there is some.

    Raises:
        UserError: for a CUDA device that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == "auto":
        word = "cuda" if count else "cpu"
    index = int(word.partition(":")[2] or 0)
    if word.startswith("cuda") and index >= count:
        got = f"{word}, and {count} CUDA devices here"
        raise UserError.single("device", got, "a device that there is", "device=auto or device=cpu")
    return torch.device(word)


def choose_phases(
    wanted: Mapping[str, str],
    device: torch.device,
    reads_compiled: Callable[[], bool] = lambda: False,
) -> Phases:
    """Decide the number format of each phase.

    Args:
        wanted: auto, float32 or bfloat16 by phase.
        device: that does the work.
        reads_compiled: tells whether samples can be drawn on compiled passes, which widen
            bfloat16 weights and need no instruction for it; asked only where that decides.
    """
    multiplies = has_bfloat16(device)
    may_read = wanted["sampling"] != "float32" and not multiplies and reads_compiled()
    words: dict[str, Precision] = {}
    reasons, emulated = {}, list[str]()
    for phase in PHASES:
        is_easy = phase == "sampling" and may_read
        if wanted[phase] != "auto":
            words[phase] = "float32" if wanted[phase] == "float32" else "bfloat16"
            reasons[phase] = "as asked for"
        elif multiplies:
            words[phase], reasons[phase] = "bfloat16", "the hardware multiplies it"
        elif is_easy:
            words[phase] = "bfloat16"
            reasons[phase] = "compiled passes widen stored weights as they read them"
        else:
            words[phase] = "float32"
            reasons[phase] = "the hardware has no instruction for products of bfloat16"
        if words[phase] == "bfloat16" and not multiplies and not is_easy:
            emulated.append(phase)
            reasons[phase] += ", though the hardware has no instruction for it and emulates it"
    return Phases(device, **words, reasons=reasons, emulated=tuple(emulated))


def choose_precision(word: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Compute:
    """Device and precision of steps alone: bfloat16 under auto where the hardware has it."""
    return choose_phases(dict.fromkeys(PHASES, word), device).steps


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Widen: a softmax of bfloat16 would lose most of its tail. float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def has_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 arithmetic is done in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
