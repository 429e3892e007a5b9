"""The optimizer: parameter groups, the clip, and how its memory is saved."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from collapse_lm.config.parts import AdamW, OptimizerConfig
from collapse_lm.errors import UserError
from collapse_lm.experiment.models import Saved


def make_optimizer(
    network: Any,
    learning_rate: float,
    weight_decay: float,
    rule: OptimizerConfig | None = None,
) -> torch.optim.Optimizer:
    """Make an optimizer whose weight decay acts on tensors of two or more dimensions only.

    Args:
        network: whose parameters are trained.
        learning_rate: of every step, until somebody changes it.
        weight_decay: of those tensors.
        rule: AdamW with the paper's betas by default.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    made: torch.optim.Optimizer = (rule or AdamW()).build(groups, learning_rate)
    return made


def gradient_norm(network: Any) -> float:
    """L2 norm of all gradients together."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


@contextmanager
def clip(optimizer: Any, grad_norm: float, limit: float | None) -> Iterator[None]:
    """Within the body a step takes the gradient scaled down to a norm.

    A fused optimizer divides by `grad_scale` as it reads the gradient (that is what loss
    scaling uses), so that the clip is no pass over memory of its own; for any other the
    gradients are scaled in place.
    """
    scale = 1.0 if limit is None else max(1.0, (grad_norm + 1e-6) / limit)
    if not all(group.get("fused") for group in optimizer.param_groups):
        if scale > 1:
            held = [p for group in optimizer.param_groups for p in group["params"]]
            torch._foreach_div_([p.grad for p in held if p.grad is not None], scale)
        yield
        return
    device = next(p.device for group in optimizer.param_groups for p in group["params"])
    optimizer.grad_scale = torch.tensor(scale, dtype=torch.float32, device=device)
    try:
        yield
    finally:
        del optimizer.grad_scale


class OptimizerMemory:
    """What any optimizer remembers: of each parameter, and in its groups.

    Named PARAMETER/FIELD and :group0/FIELD. Numbers that are no tensors (a step count, a
    learning rate that a schedule moved) are saved beside them.
    """

    def __init__(self, network: Any, optimizer: torch.optim.Optimizer) -> None:
        self._parameters = dict(network.named_parameters())
        self._optimizer = optimizer

    def state(self) -> Saved:
        """Every tensor and number; a field that holds nothing yet is left out.

        Raises:
            UserError: for a memory that is neither.
        """
        memory, groups = self._optimizer.state, self._optimizer.param_groups
        found = {
            f"{name}/{field}": value
            for name, parameter in self._parameters.items()
            for field, value in memory.get(parameter, {}).items()
        } | {
            f":group{place}/{field}": value
            for place, group in enumerate(groups)
            for field, value in group.items()
            if isinstance(value, (int, float, torch.Tensor))
        }
        return {key: _saveable(key, value) for key, value in found.items() if value is not None}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave.

        Raises:
            ValueError: for the memory of another model's optimizer.
        """
        groups = self._optimizer.param_groups
        places: dict[str, Any] = {f":group{place}": group for place, group in enumerate(groups)}
        owners = {key: key.rpartition("/")[0] for key in state}
        if not set(owners.values()) <= {*self._parameters, *places}:
            raise ValueError("its moments are not those of the model")
        self._optimizer.state.clear()
        for key, value in state.items():
            owner, field = owners[key], key.rpartition("/")[2]
            if owner in places:
                places[owner][field] = value
                continue
            parameter = self._parameters[owner]
            is_tensor = isinstance(value, torch.Tensor)
            held = value.to(parameter.device) if is_tensor else value
            self._optimizer.state[parameter][field] = held


def _saveable(key: str, value: Any) -> Any:
    if isinstance(value, (int, float, str, torch.Tensor)):
        return value
    raise UserError.single(
        "training.optimizer",
        f"a memory of {type(value).__name__} ({key}), which no checkpoint can hold",
        "tensors and numbers",
        "run.checkpoint_every=off, or another optimizer",
    )
