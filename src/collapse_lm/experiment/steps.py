"""Optimizers around another: its memory forgotten, its direction lost, or pulled back to θ_0.

Each looks like the optimizer that it holds: the same parameter groups and the same memory,
which a checkpoint holds by `OptimizerMemory`. Knows nothing of losses.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from collapse_lm import rng


@runtime_checkable
class BeginsUpdate(Protocol):
    """An optimizer that wants to know when an update begins."""

    def begin(self, seed: int, update: int) -> None:
        """Take note of the seed of the run and of the update whose steps follow."""
        ...


class OptimizerAround:
    """What all of them share: the optimizer within."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the optimizer within."""
        groups: list[dict[str, Any]] = self.inner.param_groups
        return groups

    @property
    def state(self) -> Any:
        """Its memory."""
        return self.inner.state

    def __setattr__(self, name: str, value: Any) -> None:
        """Hand on what a fused step reads (see `optimizer.clip`)."""
        if name == "grad_scale":
            setattr(self.inner, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Take it back."""
        if name == "grad_scale":
            delattr(self.inner, name)
        else:
            super().__delattr__(name)

    def begin(self, seed: int, update: int) -> None:
        """Hand it on."""
        if isinstance(self.inner, BeginsUpdate):
            self.inner.begin(seed, update)

    def step(self) -> None:
        """Take the step of the optimizer within."""
        self.inner.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        self.inner.zero_grad(set_to_none=set_to_none)

    def _trained(self) -> list[Tensor]:
        """The parameters, in the order of their groups."""
        return [p for group in self.param_groups for p in group["params"]]


class FreshSteps(OptimizerAround):
    """Forgets the moments before every update: each takes the first step of an optimizer."""

    def begin(self, seed: int, update: int) -> None:
        """Forget."""
        super().begin(seed, update)
        self.state.clear()


class RandomSteps(OptimizerAround):
    """Steps of the same L2 norm per tensor in a direction that is drawn at random.

    What a model goes through that moves as far as a trained one and learns nothing.
    Directions are normal numbers from the stream `direction` of the update.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._place = (0, 0, 0)  # seed, update, step of the update

    def begin(self, seed: int, update: int) -> None:
        """Name the stream of the directions."""
        super().begin(seed, update)
        self._place = (seed, update, 0)

    @torch.no_grad()
    def step(self) -> None:
        """Let the optimizer step, and turn what it did."""
        parameters = self._trained()
        before = [p.clone() for p in parameters]
        self.inner.step()
        seed, update, step = self._place
        self._place = (seed, update, step + 1)
        numbers = rng.stream(seed, "direction", update, *([step] if step else []))
        for p, old in zip(parameters, before, strict=True):
            length = torch.linalg.vector_norm(p - old)
            drawn = torch.randn(p.shape, generator=numbers, dtype=torch.float32).to(p)
            p.copy_(old.add_(drawn, alpha=float(length / torch.linalg.vector_norm(drawn))))


class StepsToBase(OptimizerAround):
    """θ moves by rate * learning rate of its way back to θ_0 before every step.

    θ_0 is what the parameters are as it is made: parts are made before a checkpoint is read.
    """

    def __init__(self, inner: Any, rate: float) -> None:
        super().__init__(inner)
        self._rate = rate
        self._base = [p.detach().clone() for p in self._trained()]

    @torch.no_grad()
    def step(self) -> None:
        """Decay, then step."""
        start = 0
        for group in self.param_groups:
            held: list[Tensor] = group["params"]
            base = self._base[start : start + len(held)]
            if held:
                torch._foreach_lerp_(held, base, float(group["lr"]) * self._rate)
            start += len(held)
        self.inner.step()


def begin_update(optimizer: Any, seed: int, update: int, rate: float | None) -> None:
    """Tell an optimizer of an update; give its groups a rate, where a schedule moves it."""
    if isinstance(optimizer, BeginsUpdate):
        optimizer.begin(seed, update)
    if rate is not None:
        for group in optimizer.param_groups:
            group["lr"] = rate
