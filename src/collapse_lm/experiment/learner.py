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
from collapse_lm.inference import head_is_plain
from collapse_lm.machine.compute import Compute, at_least_float32

_CHUNK = 256  # positions whose logits exist at a time


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

    Gradients accumulate over the segments, so that one forward holds one segment. The
    optimizer is a fused one (`make_optimizer`), which applies the clip.
    """
    total = sum(len(segment.targets) for segment in segments)
    loss = sum(_accumulate(network, segment, compute, total) for segment in segments)
    grad_norm = _gradient_norm(network)
    applied = math.isfinite(loss) and math.isfinite(grad_norm)
    if applied:
        _clipped_step(optimizer, grad_norm, grad_clip)
    optimizer.zero_grad(set_to_none=True)
    return Step(loss, grad_norm, applied)


def _accumulate(network: Any, segment: Segment, compute: Compute, total: int) -> float:
    """Add a segment's share of the gradient; return its share of the loss.

    Where the logits are the head of the last hidden state, they exist for a few hundred
    positions at a time: each chunk goes back to the hidden states at once, and these go
    back through the body together.
    """
    ids_T = torch.tensor(segment.context + segment.targets, device=network.device)
    targets_T, count = ids_T[-len(segment.targets) :], len(segment.targets)
    if count <= _CHUNK or not head_is_plain(network):
        with compute.autocast():
            loss = segment_nll(network, segment) / total
        torch.autograd.backward(loss)
        return float(loss.detach())
    with compute.autocast():
        body = network.base_model(input_ids=ids_T[None, :-1], use_cache=False)
    hidden_TD = body.last_hidden_state[0, -count:]
    leaf_TD = hidden_TD.detach().requires_grad_()
    sum_of_parts = 0.0
    for hidden, targets in zip(
        torch.split(leaf_TD, _CHUNK), torch.split(targets_T, _CHUNK), strict=True
    ):
        with compute.autocast():
            logits = network.get_output_embeddings()(hidden)
            loss = _cross_entropy_sum(logits, targets) / total
        torch.autograd.backward(loss)
        sum_of_parts += float(loss.detach())
    torch.autograd.backward(hidden_TD, leaf_TD.grad)
    return sum_of_parts


def _gradient_norm(network: Any) -> float:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def _clipped_step(optimizer: Any, grad_norm: float, limit: float | None) -> None:
    """Step with the gradient scaled down to the limit.

    The fused optimizer divides by `grad_scale` as it reads the gradient (that is what
    loss scaling uses), so the clip is no pass over memory of its own.
    """
    assert all(group["fused"] for group in optimizer.param_groups)  # others would not clip
    scale = 1.0 if limit is None else max(1.0, (grad_norm + 1e-6) / limit)
    device = optimizer.param_groups[0]["params"][0].device
    optimizer.grad_scale = torch.tensor(scale, dtype=torch.float32, device=device)
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale


def segment_nll(network: Any, segment: Segment) -> Tensor:
    """Sum of -log p (nats) over a segment's targets, each given all that stands before it."""
    ids_T = torch.tensor(segment.context + segment.targets, device=network.device)
    logits_TV = network(
        input_ids=ids_T[None, :-1], use_cache=False, logits_to_keep=len(segment.targets)
    ).logits[0]
    return _cross_entropy_sum(logits_TV, ids_T[-len(segment.targets) :])


def _cross_entropy_sum(logits_TV: Tensor, targets_T: Tensor) -> Tensor:
    return functional.cross_entropy(at_least_float32(logits_TV), targets_T, reduction="sum")


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
