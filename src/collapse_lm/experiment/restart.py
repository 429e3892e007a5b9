"""A new model in the place of the one that is trained: what a generation begins with.

The weights of θ_0 are loaded again, so that no second copy of them is held through a run.
Knows nothing of where the texts come from.
"""

import copy
from collections.abc import Callable
from typing import Any

from collapse_lm import rng
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Generation
from collapse_lm.experiment.models import Models, Saved, Stateful
from collapse_lm.inference.as_configured import is_as_configured


class Restart:
    """Puts the weights that a generation begins with in place, and forgets the last one's steps.

    Args:
        optimizer: loses its memory.
        objective: gets the memory back that it has now.
        base: gives the trained parameters as they were before the first update, by name.
        seed: of the run; random weights are drawn from its stream `init` of the update.
    """

    def __init__(
        self, optimizer: Any, objective: object, base: Callable[[], Saved], seed: int
    ) -> None:
        self._optimizer, self._objective = optimizer, objective
        self._base, self._seed = base, seed
        held = objective.state() if isinstance(objective, Stateful) else {}
        self._at_first = copy.deepcopy(dict(held))

    def __call__(self, models: Models, update: int, generation: Generation) -> None:
        """Begin a generation, where an update is its first; else nothing.

        Args:
            models: of the run; changed in place.
            update: of the run.
            generation: that it belongs to.
        """
        is_new = generation.update == 1
        is_untouched = update == 1 and generation.start == "base"
        if not is_new or is_untouched or generation.start == "last":
            return
        scratch = generation.start == "scratch"
        models.restart(self._drawn(models.trained, update) if scratch else self._base())
        self._optimizer.state.clear()
        if isinstance(self._objective, Stateful):
            self._objective.load(copy.deepcopy(self._at_first))

    def _drawn(self, network: Any, update: int) -> Saved:
        """The parameters of a new network of the same kind, drawn as its own code draws them."""
        with rng.as_global(self._seed, "init", update, network.device):
            fresh = type(network)(copy.deepcopy(network.config))
        return dict(fresh.named_parameters())


def require_drawable(network: Any, *, has_adapters: bool) -> None:
    """Refuse a network that its configuration alone does not make.

    Raises:
        UserError: for a toy, for code of its own, and for adapters.
    """
    if has_adapters or not is_as_configured(network):
        name = "adapters" if has_adapters else f"a {type(network).__name__}"
        expected = "base or last, or all weights of a model of transformers"
        raise UserError.single("source.start", f"scratch, for {name}", expected)
