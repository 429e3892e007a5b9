"""Draw a batch of samples from a model: prompt and uniforms in, token ids out.

Shapes: B samples, P prompt tokens, T new tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from collapse_lm.sampling.decoder import CachedDecoder, SlidingDecoder
from collapse_lm.sampling.inverse_cdf import Filters, entropy, pick


@dataclass(frozen=True)
class Draw:
    """The samples of one update.

    Attributes:
        prompt: token ids of the context before every sample.
        samples: token ids of each sample, the prompt excluded.
        entropy: mean predictive entropy (nats) of the model over the drawn positions,
            at temperature 1 and unfiltered.
        forward_passes: passes through the model, the one over the prompt included.
    """

    prompt: tuple[int, ...]
    samples: tuple[tuple[int, ...], ...]
    entropy: float
    forward_passes: int

    @property
    def tokens(self) -> int:
        """Sampled tokens of all samples together."""
        return sum(len(sample) for sample in self.samples)


def sample(
    network: Any,
    prompt: Sequence[int],
    uniform_BT: Tensor,
    filters: Filters,
    *,
    block_size: int | None = None,
    stop_token: int | None = None,
) -> Draw:
    """Draw B samples of up to T tokens, one uniform per position.

    Args:
        network: a causal language model of transformers.
        prompt: at least one token id; the same context for every sample.
        uniform_BT: float64 numbers in [0, 1) on the CPU, one per sample and position.
        filters: temperature, top-k, top-p.
        block_size: sliding context of this many tokens; None lets every token see all.
        stop_token: ends a sample (and is its last token); None runs all to T.
    """
    decoder = CachedDecoder(network) if block_size is None else SlidingDecoder(network, block_size)
    batch, length = uniform_BT.shape
    uniform_BT = uniform_BT.to(network.device)
    new_BP = torch.tensor([list(prompt)] * batch, device=network.device)
    ids_BT = torch.empty(batch, length, dtype=torch.long, device=network.device)
    entropy_BT = torch.empty(batch, length, dtype=torch.float64, device=network.device)
    for t in range(length):
        logits_BV = decoder.append(new_BP)
        ids_BT[:, t] = pick(logits_BV, uniform_BT[:, t], filters)
        entropy_BT[:, t] = entropy(logits_BV)
        new_BP = ids_BT[:, t : t + 1]
        if stop_token is not None and bool((ids_BT[:, : t + 1] == stop_token).any(dim=1).all()):
            break
    samples = tuple(_until(row, stop_token) for row in ids_BT[:, : t + 1].tolist())
    seen = [entropy_BT[row, : len(ids)] for row, ids in enumerate(samples)]
    return Draw(tuple(prompt), samples, float(torch.cat(seen).mean()), decoder.passes)


def _until(ids: list[int], stop_token: int | None) -> tuple[int, ...]:
    """Cut a sample after the first stop token."""
    end = ids.index(stop_token) + 1 if stop_token in ids else len(ids)
    return tuple(ids[:end])
