"""Low-rank adapters, by peft: only they are trained; the merged weights sample and are measured.

peft is an extra, imported only where adapters are asked for.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch

from collapse_lm import rng
from collapse_lm._util.extras import install
from collapse_lm.config.sections import LoraConfig
from collapse_lm.errors import UserError

_NAME = "default"  # that peft gives the first adapter of a layer


class Adapted:
    """A copy of a network with adapters, which is trained, and the network, which follows it.

    The copy shares with the network every weight that has no adapter.

    Attributes:
        trained: the copy; only its adapters have gradients.
        network: W + alpha / rank * B A in each weight, as the adapters are now.

    Raises:
        UserError: without peft, and for layers that there are not.
    """

    def __init__(self, network: Any, settings: LoraConfig, seed: int) -> None:
        require_peft()
        names = targets_of(network, settings.targets)
        moved = {id(network.get_submodule(name).weight) for name in names}
        shared = {id(p): p for p in network.parameters() if id(p) not in moved}
        self.network = network
        self.trained = _with_adapters(copy.deepcopy(network, shared), names, settings, seed)
        self._pairs = [
            (network.get_submodule(name).weight, self.trained.get_submodule(name)) for name in names
        ]

    @torch.no_grad()
    def follow(self) -> None:
        """Merge the adapters as they are into the weights of the network."""
        for weight, layer in self._pairs:
            weight.copy_(layer.base_layer.weight + layer.get_delta_weight(_NAME))

    def restart(self) -> None:
        """As `follow`: adapters have no memory."""
        self.follow()


def require_peft() -> None:
    """Accept a machine that has peft.

    Raises:
        UserError: with the command that installs it.
    """
    if find_spec("peft") is None:
        got, fix = "peft, which is not installed", install("lora")
        raise UserError.single("training.lora", got, "the package peft", fix)


def targets_of(network: Any, wanted: Sequence[str] | None) -> list[str]:
    """The full names of the layers that get adapters.

    Args:
        network: of transformers.
        wanted: last parts of names; None means all linear layers but the head.

    Raises:
        UserError: for a word that fits none of these.
    """
    known = _linear_layers(network)
    if not known:
        got = f"a {type(network).__name__} without linear layers beside its head"
        raise UserError.single("training.lora", got, "a model that has some")
    if wanted is None:
        return known
    unknown = [word for word in wanted if not any(_ends(name, word) for name in known)]
    if unknown:
        kinds = dict.fromkeys(name.rpartition(".")[2] for name in known)
        expected = f"last parts of names of linear layers: {', '.join(kinds)}"
        raise UserError.single("training.lora.targets", ", ".join(unknown), expected)
    return [name for name in known if any(_ends(name, word) for word in wanted)]


def _linear_layers(network: Any) -> list[str]:
    """Those whose weight is no other layer's too: an adapter would change both."""
    from transformers.pytorch_utils import Conv1D

    head = network.get_output_embeddings()
    uses = Counter(id(value) for m in network.modules() for value in m._parameters.values())
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and module is not head
        and uses[id(module.weight)] == 1
    ]


def _ends(name: str, word: str) -> bool:
    return name == word or name.endswith(f".{word}")


def _with_adapters(network: Any, names: Sequence[str], settings: LoraConfig, seed: int) -> Any:
    """Put adapters into a network: B is 0 and A is drawn from the stream `init`."""
    from peft import LoraConfig as Settings
    from peft import inject_adapter_in_model

    told = Settings(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(names),
    )
    with rng.as_global(seed, "init", 0, network.device), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # which it sets as the layer needs it
        inject_adapter_in_model(told, network)
    numbers = rng.stream(seed, "init")
    for name in names:
        weight = network.get_submodule(name).lora_A[_NAME].weight
        drawn = torch.empty(weight.shape, dtype=torch.float32)
        torch.nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=numbers)  # peft's own way
        weight.data.copy_(drawn)
    return network.eval()
