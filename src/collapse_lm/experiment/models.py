"""The models of a run, and the moment at which they are used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from collapse_lm.inference import Network

Saved = Mapping[str, Any]  # by name: tensors, and values that JSON has


@runtime_checkable
class Stateful(Protocol):
    """Whatever must survive an update and does not follow from the recorded rows.

    Any part of an experiment may be one: it is then saved in every checkpoint.
    """

    def state(self) -> Saved:
        """Return tensors and JSON values by name; tensors may be the living ones."""
        ...

    def load(self, state: Saved) -> None:
        """Take over what `state` gave, in a fresh object.

        Raises:
            ValueError: for the state of something else; the object is then unchanged.
        """
        ...


@dataclass
class Models:
    """The models of a run.

    Attributes:
        trained: what the optimizer changes, θ; float32.
        sampler: the effective weights in the precision of sampling, for drawing.
        load_base: makes θ_0, frozen; called at the first use of `base`.
        evaluator: the effective weights in the precision of evaluation, for measuring; by
            default the sampler.
        load_base_sampler: makes θ_0 in the precision of sampling, where `load_base` makes it in
            another; called at the first use of `base_sampler`.
    """

    trained: Any
    sampler: Network
    load_base: Callable[[], Network]
    evaluator: Network = None  # type: ignore[assignment]
    load_base_sampler: Callable[[], Network] | None = None
    _base: Network | None = field(default=None, repr=False)
    _base_sampler: Network | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.evaluator = self.evaluator or self.sampler

    def base(self) -> Network:
        """The frozen base model θ_0, loaded on demand."""
        if self._base is None:
            self._base = self.load_base()
        return self._base

    def base_sampler(self) -> Network:
        """The frozen base model θ_0 as the sampler was at the start: it draws the same tokens."""
        if self.load_base_sampler is None:
            return self.base()
        if self._base_sampler is None:
            self._base_sampler = self.load_base_sampler()
        return self._base_sampler

    def refresh(self) -> None:
        """Let sampler and evaluator take over the trained weights, after every step."""
        self.sampler.refresh()
        if self.evaluator is not self.sampler:
            self.evaluator.refresh()

    def copies(self) -> Mapping[int, Tensor]:
        """The sampler's copies of linear layers, by the address of the weight they are of."""
        return self.sampler.copies()

    def state(self) -> Saved:
        """The parameters by name, a tied one once (buffers never change: evaluation mode)."""
        return {name: value.detach() for name, value in self.trained.named_parameters()}

    def load(self, state: Saved) -> None:
        """Take over parameters.

        Raises:
            ValueError: for the parameters of another model.
        """
        own: dict[str, Tensor] = dict(self.trained.named_parameters())
        if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in own.items()}:
            raise ValueError("its parameters are not those of the model")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name])
        self.refresh()


@dataclass(frozen=True)
class Moment:
    """An update, and the models as they are in it.

    Attributes:
        update: counted from 1; 0 is the base model.
        models: of the run.
        attempt: 0, and more where a source is asked again within the update (by the source
            `filter`): it then draws other random numbers.
    """

    update: int
    models: Models
    attempt: int = 0
