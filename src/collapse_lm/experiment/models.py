"""The models of a run, and the moment at which they are used."""

from collections.abc import Callable, Mapping, Sequence
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


class Follower(Protocol):
    """Weights that follow the trained ones, update by update: an average, merged adapters.

    One that is `Stateful` depends on the updates before; any other on the trained weights alone.
    """

    def follow(self) -> None:
        """Take over the weights after the steps of an update."""
        ...

    def restart(self) -> None:
        """Take them over as they are, as if there had been none before."""
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
        followers: in the order in which they follow; sampler and evaluator read the weights of
            the last that samples, or the trained ones.
        trains_all: False where only parameters with a gradient are trained, and saved (adapters).
    """

    trained: Any
    sampler: Network
    load_base: Callable[[], Network]
    evaluator: Network = None  # type: ignore[assignment]
    load_base_sampler: Callable[[], Network] | None = None
    followers: Sequence[Follower] = ()
    trains_all: bool = True
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

    def follow(self) -> None:
        """Let all that follows the trained weights take them over, after the steps of an update."""
        for follower in self.followers:
            follower.follow()
        self.refresh()

    def refresh(self) -> None:
        """Let sampler and evaluator take over the effective weights."""
        self.sampler.refresh()
        if self.evaluator is not self.sampler:
            self.evaluator.refresh()

    def copies(self) -> Mapping[int, Tensor]:
        """The sampler's copies of linear layers, by the address of the weight they are of."""
        return self.sampler.copies()

    def state(self) -> Saved:
        """The parameters by name, a tied one once (buffers never change: evaluation mode)."""
        return {name: value.detach() for name, value in self._own().items()}

    def load(self, state: Saved) -> None:
        """Take over parameters; an average of weights has a state of its own to load.

        Raises:
            ValueError: for the parameters of another model.
        """
        own = self._own()
        if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in own.items()}:
            raise ValueError("its parameters are not those of the model")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name])
        for follower in self.followers:
            if not isinstance(follower, Stateful):
                follower.follow()
        self.refresh()

    def restart(self, state: Saved) -> None:
        """Begin again with other parameters; averages of the weights begin with these.

        Raises:
            ValueError: for the parameters of another model.
        """
        self.load(state)
        for follower in self.followers:
            follower.restart()
        self.refresh()

    def _own(self) -> dict[str, Tensor]:
        """The parameters that are trained, by name."""
        named = self.trained.named_parameters()
        return {name: value for name, value in named if self.trains_all or value.requires_grad}


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
