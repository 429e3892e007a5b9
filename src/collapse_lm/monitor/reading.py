"""The model under training, as the monitor reads it: unwrapped, with its tokenizer.

Knows nothing of what is measured.
"""

from pathlib import PurePath
from typing import Any

import torch

from collapse_lm.errors import UserError
from collapse_lm.models.load import LanguageModel

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WRAPPERS = ("module", "_orig_mod")  # of DistributedDataParallel, of torch.compile


def unwrapped(model: Any) -> Any:
    """The model of transformers, or of peft, within what wraps it for training or compiling."""
    while (inner := _within(model)) is not None:
        model = inner
    return model


def _within(model: Any) -> Any:
    if not isinstance(model, torch.nn.Module) or _is_ours(model):
        return None
    return next((model._modules[name] for name in _WRAPPERS if name in model._modules), None)


def _is_ours(model: Any) -> bool:
    return any(kind.__module__.startswith(("transformers.", "peft.")) for kind in type(model).mro())


def under_adapters(model: Any) -> Any:
    """The network that adapters were put into, which reads tokens with them.

    One whose adapter puts tokens before the text (prompt tuning) is read as it is.
    """
    if not type(model).__module__.startswith("peft."):
        return model
    return model if model.active_peft_config.is_prompt_learning else model.get_base_model()


def language_model(model: Any, tokenizer: Any) -> LanguageModel:
    """Take a model as it is trained, with its tokenizer.

    Args:
        model: of transformers or peft, wrapped or not.
        tokenizer: a fast one, or a processor that holds one.

    Raises:
        UserError: for no tokenizer, or one that does not fit, for anything but a causal
            language model, and for one whose weights cannot be read.
    """
    network = under_adapters(unwrapped(model))
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    if tokenizer is None:
        fix = (
            "CollapseMonitor(tokenizer), Monitor(tokenizer), or monitor.observe(model, tokenizer, \
step=step)"
        )
        raise UserError.single("monitor", "no tokenizer", "the model's tokenizer", fix)
    if not hasattr(network, "get_input_embeddings") or not hasattr(network, "config"):
        told = f"a {type(network).__name__}"
        raise UserError.single("monitor", told, "a causal language model of transformers")
    _require_weights(network)
    return LanguageModel.of(network, tokenizer, name_of(network))


def require_tokenizer(tokenizer: Any) -> None:
    """Refuse what is given in a tokenizer's place: its name, a model.

    Raises:
        UserError: for anything but a tokenizer of transformers, or a processor that holds one.
    """
    from transformers import PreTrainedTokenizerBase

    if isinstance(getattr(tokenizer, "tokenizer", tokenizer), PreTrainedTokenizerBase):
        return
    got = f"a {type(tokenizer).__name__}" + (f", {tokenizer!r}"[:60] if _is_name(tokenizer) else "")
    fix = f"AutoTokenizer.from_pretrained({tokenizer!r})"[:90] if _is_name(tokenizer) else None
    raise UserError.single("tokenizer", got, "a tokenizer of transformers, the model's own", fix)


def _is_name(tokenizer: Any) -> bool:
    return isinstance(tokenizer, str)


def _require_weights(network: Any) -> None:
    name = name_of(network)
    if any(weight.is_meta for weight in network.parameters()):
        got = "weights on the device meta, which holds no numbers"
        raise UserError.single(f"model {name}", got, "a model that is loaded")
    if any(callable(getattr(module, "weight", None)) for module in network.modules()):
        got = "weights that torch has packed for inference (quantize_dynamic)"
        fix = "watch the model as it was before; or monitor.observe_texts"
        raise UserError.single(f"model {name}", got, "weights as tensors, as they are trained", fix)


def require_finite(model: LanguageModel) -> None:
    """Refuse a model whose weights are not numbers before any training.

    Raises:
        UserError: for such weights.
    """
    for name, weight in model.network.named_parameters():
        if weight.dtype in _FLOATS and not bool(torch.isfinite(weight).all()):
            got = f"{name} with numbers that are infinite, or none"
            where = f"model {model.provenance.reference}"
            raise UserError.single(where, got, "finite weights at the start", "load it again")


def name_of(network: Any) -> str:
    """A name for the record: where the model came from, else its family."""
    path = str(getattr(network.config, "_name_or_path", "") or "")
    return PurePath(path).name or str(network.config.model_type)
