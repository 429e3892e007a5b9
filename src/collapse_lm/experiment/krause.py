"""The step of dynamic evaluation by Krause et al.: scaled by the gradients of a training text.

A gradient is divided by its root mean square (RMS) over batches of that text, which are read
before the first step, and every weight decays towards the base model's, the more so the larger
its RMS is. Knows nothing of losses.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import UserError
from collapse_lm.experiment.segments import Segment
from collapse_lm.experiment.steps import OptimizerAround

if TYPE_CHECKING:
    from collapse_lm.config.kinds.optimizer import Krause
    from collapse_lm.experiment.build import Context

_LOG = logging.getLogger(__name__)
_WHERE = "training.optimizer"


class KrauseSteps(torch.optim.Optimizer):
    """Steps of Krause et al. 2018 (arXiv 1709.07432, section 5), by the rule of their code.

    With g the gradient, RMS that of each weight and mean(RMS) the mean over the tensors of
    their means: θ <- θ - η g / (RMS + ε) + min(1, λ RMS / mean(RMS)) (θ_0 - θ). θ_0 is what the
    parameters are as it is made: parts are made before a checkpoint is read. Weight decay of a
    group is decoupled, as in AdamW.

    Args:
        groups: of parameters.
        learning_rate: η.
        rule: λ, ε, and where the statistics are from.
    """

    def __init__(
        self, groups: Sequence[Mapping[str, Any]], learning_rate: float, rule: "Krause"
    ) -> None:
        settings = {"lr": learning_rate, "weight_decay": 0.0, "mean_rms": 0.0}
        super().__init__([dict(group) for group in groups], settings)
        self.rule = rule
        self._base = {p: p.detach().clone() for p in self._trained()}

    @property
    def is_scaled(self) -> bool:
        """True once the statistics are known."""
        return all("rms" in self.state[p] for p in self._trained())

    def scale(
        self, gradients: Callable[[Sequence[Segment]], object], batches: "Batches"
    ) -> "Scale":
        """Collect the statistics, and take them.

        Args:
            gradients: adds those of the mean loss of a batch to the parameters.
            batches: of the training text.

        Raises:
            UserError: for a gradient that is not finite.
        """
        _LOG.info("gradient statistics of %d batches", len(batches))
        squares = {p: torch.zeros_like(p) for p in self._trained()}
        for batch in batches:
            gradients(batch)
            for p, total in squares.items():
                if p.grad is not None:
                    total.addcmul_(p.grad, p.grad, value=1 / len(batches))
            self.zero_grad(set_to_none=True)
        means = [float(total.sqrt_().mean()) for total in squares.values()]
        mean_rms = sum(means) / len(means)
        if not math.isfinite(mean_rms):
            told = "a gradient that is not finite on the text of the statistics"
            raise UserError.single(_WHERE, told, "finite gradients", "another corpus")
        scale = Scale(tuple(squares.values()), mean_rms)
        self.take(scale)
        return scale

    def take(self, scale: "Scale") -> None:
        """Take over statistics that were collected on the same model."""
        for p, rms in zip(self._trained(), scale.rms, strict=True):
            self.state[p]["rms"] = rms
        for group in self.param_groups:
            group["mean_rms"] = scale.mean_rms

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Decay and step."""
        assert self.is_scaled
        for group in self.param_groups:
            rate, mean_rms = float(group["lr"]), float(group["mean_rms"])
            strength = self.rule.decay / mean_rms if mean_rms else 0.0
            for p in group["params"]:
                if p.grad is None:
                    continue
                rms: Tensor = self.state[p]["rms"]
                p.mul_(1 - rate * group["weight_decay"])
                p.lerp_(self._base[p], (rms * strength).clamp_(max=1))
                p.addcdiv_(p.grad, rms + self.rule.epsilon, value=-rate)

    def _trained(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]


Batches = Sequence[Sequence[Segment]]


@dataclass(frozen=True)
class Scale:
    """The statistics of all parameters, in order; no step changes them.

    Attributes:
        rms: of each weight.
        mean_rms: the mean over the tensors of their means.
    """

    rms: tuple[Tensor, ...]
    mean_rms: float


_shared: ContextVar[dict[Any, Scale] | None] = ContextVar("shared", default=None)


@contextmanager
def shared_statistics() -> Iterator[None]:
    """Collect statistics once for all runs within that begin with the same model and text.

    Not for runs whose optimizer forgets them (`fresh`, generations): these want new ones.
    """
    before = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(before)


@dataclass(frozen=True)
class GradientStatistics:
    """Brings the statistics to an optimizer that has none yet.

    Attributes:
        steps: the optimizer.
        batches: of the text that they are from; none where they are shared.
        key: what they depend on.
        shared: statistics by key; None where none are shared.
    """

    steps: KrauseSteps
    batches: Batches
    key: Any = None
    shared: dict[Any, Scale] | None = None

    def __call__(self, gradients: Callable[[Sequence[Segment]], object]) -> None:
        """Collect them, where they are not there; `gradients` is as for `KrauseSteps.scale`."""
        if self.steps.is_scaled:
            return
        if self.shared is not None and self.key in self.shared:
            self.steps.take(self.shared[self.key])
            return
        scale = self.steps.scale(gradients, self.batches)
        if self.shared is not None:
            self.shared[self.key] = scale


def gradient_statistics(context: "Context", optimizer: Any) -> GradientStatistics | None:
    """Read the text that an optimizer's statistics are from; None where it wants none.

    Raises:
        UserError: for a corpus that cannot be had, does not fit the model or is too short, and
            for adapters, whose gradients are zero as they begin.
    """
    while isinstance(optimizer, OptimizerAround):
        optimizer = optimizer.inner
    if not isinstance(optimizer, KrauseSteps):
        return None
    if context.config.training.lora is not None:
        told = "training.lora: the gradient of half of its weights is 0 before the first step"
        raise UserError.single(_WHERE, told, "no adapters under krause", "another optimizer")
    rule, length, shared = optimizer.rule, context.config.sampling.max_new_tokens, _shared.get()
    text, phases = context.corpus(rule.corpus), context.phases
    key = (
        *(repr(context.model.provenance), context.model.start_token, str(phases.device)),
        *(phases.training, text.sha256, rule.batches, rule.batch_size, length),
    )
    is_known = shared is not None and key in shared
    batches = () if is_known else _batches(context, rule, length)
    return GradientStatistics(optimizer, batches, key, shared)


def _batches(context: "Context", rule: "Krause", length: int) -> Batches:
    """Segments that are spread evenly over the text; batches take them in turn."""
    tokens = length * rule.batch_size * rule.batches
    data = context.evaluation_set(
        rule.corpus, context=length, stride=None, tokens=tokens, start_token="first"
    ).of_length(length)
    count = len(data.windows) // rule.batch_size
    if not count:
        got = f"a corpus of {data.split_tokens} tokens"
        least = f"at least {length * rule.batch_size}, those of one batch"
        raise UserError.single(f"{_WHERE}.corpus", got, least, "a longer text, or shorter texts")
    segments = _segments(data)[: count * rule.batch_size]
    return tuple(segments[n::count] for n in range(count))


def _segments(data: EvaluationSet) -> tuple[Segment, ...]:
    """The windows of a set; each sees one token before its first target."""
    return tuple(
        Segment(
            (int(data.inputs_of(window)[0]),), tuple(map(int, data.targets_of(window).tolist()))
        )
        for window in data.windows
    )
