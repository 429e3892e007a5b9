"""The networks of the toys, as causal language models of transformers that see no context.

Shapes: V types (words, or bins), B sequences, S tokens, K positions whose logits are kept.
"""

import hashlib
import json
from abc import abstractmethod
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from collapse_lm.toys.names import Toy
from collapse_lm.toys.reference import REACH, probabilities

_NEVER = -1e4  # logit of the start token, which no toy draws: e to it is 0 in any number format


class UnigramConfig(PreTrainedConfig):  # type: ignore[misc]
    """Of a unigram: how many words it has."""

    model_type = "collapse_lm_unigram"
    types: int = 64
    vocab_size: int = 65
    num_hidden_layers: int = 1  # without meaning; caches of transformers ask for it


class GaussianConfig(PreTrainedConfig):  # type: ignore[misc]
    """Of a Gaussian: how many bins it has."""

    model_type = "collapse_lm_gaussian"
    types: int = 4096
    vocab_size: int = 4097
    num_hidden_layers: int = 1


class _Toy(PreTrainedModel):  # type: ignore[misc]
    """A distribution over types, the same after any text; the last row is the start token's."""

    def get_input_embeddings(self) -> Any:
        """What tells how many ids can be read: a toy looks at none of them."""
        return SimpleNamespace(weight=torch.empty(self.config.types + 1, 0))

    @abstractmethod
    def logits_V(self) -> Tensor:  # noqa: N802 (a shape suffix)
        """Logits of the types."""

    def forward(
        self, input_ids: Tensor, past_key_values: Any = None, logits_to_keep: int = 0, **_: Any
    ) -> CausalLMOutput:
        """Return the logits (B, K, V + 1); a cache is neither read nor filled."""
        logits_V = self.logits_V()
        row = torch.cat([logits_V, logits_V.new_full((1,), _NEVER)])
        kept = logits_to_keep or input_ids.shape[1]
        return CausalLMOutput(logits=row.expand(len(input_ids), kept, -1))

    def _init_weights(self, module: Any) -> None:
        """Nothing: weights are set, or read from a file."""


class Unigram(_Toy):
    """A softmax over one vector of logits: the gradient of the mean loss is p - shares of words."""

    config_class = UnigramConfig

    def __init__(self, config: UnigramConfig) -> None:
        super().__init__(config)
        self.word_logits = nn.Parameter(torch.zeros(config.types))
        self.post_init()

    def logits_V(self) -> Tensor:  # noqa: N802
        """Logits of the words."""
        return self.word_logits


class Gaussian(_Toy):
    """A normal distribution on bins of equal width, by its mean and log standard deviation."""

    config_class = GaussianConfig

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__(config)
        self.mean = nn.Parameter(torch.zeros(()))
        self.log_deviation = nn.Parameter(torch.zeros(()))
        self.post_init()

    def logits_V(self) -> Tensor:  # noqa: N802
        """Logits of the bins: minus half the squared distance from the mean, in deviations."""
        places_V = places(self.config.types, self.mean)
        return -0.5 * ((places_V - self.mean) * (-self.log_deviation).exp()) ** 2


def places(types: int, like: Tensor) -> Tensor:
    """The middle of each bin of a Gaussian, (V,), as a tensor like another."""
    return torch.linspace(-REACH, REACH, types, dtype=like.dtype, device=like.device)


def make(toy: Toy) -> Any:
    """The network of a toy, in float32 and evaluation mode."""
    rows = toy.types + 1
    if toy.family == "gaussian":
        return Gaussian(GaussianConfig(types=toy.types, vocab_size=rows)).eval()
    network = Unigram(UnigramConfig(types=toy.types, vocab_size=rows))
    with torch.no_grad():
        network.word_logits.copy_(torch.from_numpy(probabilities(toy)).log())
    return network.eval()


def fingerprint(network: Any) -> str:
    """SHA-256 of the configuration and the weights of a toy."""
    text = json.dumps([network.config.model_type, network.config.types])
    total = hashlib.sha256(text.encode())
    for name, value in sorted(network.state_dict().items()):
        total.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return total.hexdigest()


def register() -> None:
    """Let transformers load a toy that was saved (an exported one)."""
    for config, network in ((UnigramConfig, Unigram), (GaussianConfig, Gaussian)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModelForCausalLM.register(config, network, exist_ok=True)
