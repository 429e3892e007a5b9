"""One optimizer step of an update: forward, loss, backward, clip, step.

Knows nothing of where the text came from, nor of evaluation.

Shapes: T tokens, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from collapse_lm.config.schema import TrainingConfig
from collapse_lm.precision import Compute


@dataclass(frozen=True)
class Segment:
    """Text to learn: `targets` are predicted, `context` is only read before them."""

    context: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """Outcome of a step.

    Attributes:
        loss: mean nats per token over all targets, before the step.
        grad_norm: L2 norm of the gradient before the clip.
        applied: False when loss or gradient was not finite; the step was then withheld.
    """

    loss: float
    grad_norm: float
    applied: bool


def make_optimizer(network: Any, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW whose weight decay acts on tensors of two or more dimensions only."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def train_step(
    network: Any,
    optimizer: torch.optim.Optimizer,
    segments: Sequence[Segment],
    compute: Compute,
    grad_clip: float | None,
) -> Step:
    """Take one optimizer step on the mean loss over the targets of all segments.

    Gradients accumulate over the segments, so that one forward holds one segment.
    """
    total = sum(len(segment.targets) for segment in segments)
    loss = 0.0
    for segment in segments:
        with compute.autocast():
            nll = segment_nll(network, segment)
        torch.autograd.backward(nll / total)
        loss += float(nll.detach()) / total
    limit = math.inf if grad_clip is None else grad_clip
    grad_norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), limit))
    applied = math.isfinite(loss) and math.isfinite(grad_norm)
    if applied:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Step(loss, grad_norm, applied)


def segment_nll(network: Any, segment: Segment) -> Tensor:
    """Sum of -log p (nats) over a segment's targets, each given all that stands before it."""
    ids_T = torch.tensor(segment.context + segment.targets, device=network.device)
    logits_TV = network(
        input_ids=ids_T[None, :-1], use_cache=False, logits_to_keep=len(segment.targets)
    ).logits[0]
    targets_T = ids_T[-len(segment.targets) :]
    return functional.cross_entropy(logits_TV.float(), targets_T, reduction="sum")


def choose_segment(
    prompt: tuple[int, ...],
    ids: tuple[int, ...],
    window: int | None,
    generator: torch.Generator,
) -> Segment:
    """Return the whole sample after its prompt, or one random window of it.

    A window sees one token before its first target and nothing else, as in the
    authors' code.
    """
    if window is None:
        return Segment(prompt, ids)
    if window >= len(ids):
        return Segment(prompt[-1:], ids)
    start = int(torch.randint(len(ids) - window + 1, (), generator=generator))
    before = (prompt + ids)[len(prompt) + start - 1]
    return Segment((before,), ids[start : start + window])


def retokenize(tokenizer: Any, ids: Sequence[int]) -> tuple[int, ...]:
    """Decode ids to text and tokenize that again; special tokens become plain characters."""
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    again = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return tuple(again["input_ids"]) or tuple(ids)
