"""Is a network what its configuration says, and nothing beside it?

One that its caller holds may be a class of its own, or have other modules (adapters), hooks
or forwards put into it: what is written out for its family would then pass these over.
"""

import copy
from typing import Any

import torch


def is_as_configured(network: Any) -> bool:
    """True where a network has the modules that transformers makes of its configuration."""
    if not type(network).__module__.startswith("transformers.models."):
        return False
    if any(map(is_touched, network.modules())):
        return False
    with torch.device("meta"):
        fresh = type(network)(copy.deepcopy(network.config))
    return _kinds(network) == _kinds(fresh)


def is_touched(module: Any) -> bool:
    """True for a module with a forward or a hook of its own."""
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    return "forward" in vars(module) or bool(hooks)


def _kinds(network: Any) -> list[tuple[str, type[Any]]]:
    return [(name, type(module)) for name, module in network.named_modules()]
