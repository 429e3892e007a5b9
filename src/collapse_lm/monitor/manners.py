"""Leave a model, and what is global, as they were found. Knows nothing of what is done between.

Nothing that a monitor does should change any of this; a model's own code may, and so it is
put back whatever happens.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from inspect import getclosurevars
from random import getstate, setstate
from types import MethodType
from typing import Any

import numpy as np
import torch

_GRADIENT_HOOK = "make_inputs_require_grads"  # transformers, PreTrainedModel
_FUSED_HEAD = "fused_lm_head"  # TRL, add_fused_lm_head: an argument of the forward that it puts
_FUSED = "original_forward"  # around this one


@contextmanager
def left_as_found(model: Any) -> Iterator[None]:
    """Keep a model and everything global as they are, for the body of a with statement.

    Afterwards these are as before: random numbers of Python, numpy and torch, on the CPU and
    every CUDA device; the mode of every module; `config.use_cache`; which parameters want a
    gradient, and their gradients; which tensors are its buffers; the number of threads. Within
    the body autocast is off, also where accelerate put it around a forward, and what was
    compiled runs as written, so that neither keeps anything of the body.

    Args:
        model: a module of torch, wrapped or not.
    """
    with (
        _not_inferring(),
        _global_state(),
        _module_state(model),
        _plain_passes(),
        _as_written(model),
    ):
        yield


@contextmanager
def _global_state() -> Iterator[None]:
    python, numpy_state = getstate(), np.random.get_state()
    on_cpu, threads = torch.get_rng_state(), torch.get_num_threads()
    has_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    on_cuda = torch.cuda.get_rng_state_all() if has_cuda else []
    try:
        yield
    finally:
        setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(on_cpu)
        if has_cuda:
            torch.cuda.set_rng_state_all(on_cuda)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextmanager
def _not_inferring() -> Iterator[None]:
    """Out of torch's inference mode, whose tensors nobody may change later."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def _module_state(model: Any) -> Iterator[None]:
    modules = list(model.modules())
    modes = [(module, module.training) for module in modules]
    wanted = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    buffers = [(module, dict(module._buffers)) for module in modules if module._buffers]
    config = getattr(model, "config", None)
    caches = getattr(config, "use_cache", None)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, wants, gradient in wanted:
            if parameter.requires_grad != wants:
                parameter.requires_grad_(wants)
            parameter.grad = gradient
        for module, known in buffers:
            module._buffers.update(known)
        if caches is not None and config.use_cache != caches:  # type: ignore[union-attr]
            config.use_cache = caches  # type: ignore[union-attr]


@contextmanager
def _plain_passes() -> Iterator[None]:
    """Without autocast, whose cache would keep what no gradient can go through, or compiling."""
    is_kept = torch.is_autocast_cache_enabled()
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if "torch._dynamo" in sys.modules:  # which takes seconds to import: nothing is compiled yet
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        torch.set_autocast_cache_enabled(False)
        try:
            yield
        finally:
            torch.set_autocast_cache_enabled(is_kept)


@contextmanager
def _as_written(model: Any) -> Iterator[None]:
    """Without what trainers put on a model: with it, nothing tells that the rest is untouched.

    accelerate puts autocast around a forward, whose rounding makes a model look as if it saw
    what follows. TRL puts a head around it that only its own losses ask for. And with gradient
    checkpointing transformers has a hook by which embeddings want gradients.
    """
    forwards = [(m, vars(m)["forward"]) for m in model.modules() if "forward" in vars(m)]
    hooks = [(m._forward_hooks, dict(m._forward_hooks)) for m in model.modules()]
    for module, forward in forwards:
        module.forward = _within(module, forward)
        if module.forward == MethodType(type(module).forward, module):
            del module.forward
    for present, known in hooks:
        for number, hook in known.items():
            if getattr(hook, "__name__", None) == _GRADIENT_HOOK:
                del present[number]
    try:
        yield
    finally:
        for module, forward in forwards:
            module.forward = forward
        for present, known in hooks:
            if present.keys() != known.keys():
                present.clear()
                present.update(known)


def _within(module: Any, forward: Any) -> Any:
    """The forward around which accelerate and TRL put theirs."""
    forward = vars(module).get("_original_forward", forward)
    function: Any = getattr(forward, "__func__", None)
    code = getattr(function, "__code__", None)
    if code is not None and _FUSED_HEAD in code.co_varnames:
        return getclosurevars(function).nonlocals.get(_FUSED, forward)
    return forward
