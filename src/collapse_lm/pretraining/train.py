"""The training loop of a language model on a tokenized text. No disk, no printing.

Shapes: N tokens of the text, B windows of a batch, C positions of a window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from collapse_lm import rng
from collapse_lm.config.parts import AdamW
from collapse_lm.errors import UserError
from collapse_lm.experiment.optimizer import make_optimizer
from collapse_lm.machine.compute import Compute, at_least_float32
from collapse_lm.pretraining.recipe import Recipe, Size


@dataclass(frozen=True)
class Learned:
    """One optimizer step.

    Attributes:
        step: counted from 1.
        tokens: learned so far, this step included.
        loss: mean nats per token of the batch, before the step.
        grad_norm: L2 norm of the gradient before the clip.
        lr: learning rate of the step.
    """

    step: int
    tokens: int
    loss: float
    grad_norm: float
    lr: float


def pretrain(
    network: Any, ids_N: Tensor, start_token: int, recipe: Recipe, compute: Compute
) -> Iterator[Learned]:
    """Train a network in place, one step per item taken.

    Raises:
        UserError: when a loss or gradient is not finite, before it reaches the weights.
    """
    size = Size(network.config.n_embd, network.config.n_layer)
    rule = AdamW(betas=(recipe.beta_1, recipe.beta_2))
    optimizer = make_optimizer(network, recipe.peak_rate(size), recipe.weight_decay, rule)
    shares = partial(rate_share, recipe=recipe)
    schedule = LambdaLR(optimizer, shares)
    network.train()
    for step in range(1, recipe.steps + 1):
        inputs_BC, targets_BC = draw_windows(ids_N, start_token, recipe, step)
        loss = batch_loss(network, inputs_BC.to(network.device), targets_BC, compute)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.grad_clip)
        rate = schedule.get_last_lr()[0]
        learned = Learned(
            step, step * inputs_BC.numel(), float(loss.detach()), float(norm), float(rate)
        )
        _require_finite(learned)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        yield learned


def batch_loss(network: Any, inputs_BC: Tensor, targets_BC: Tensor, compute: Compute) -> Tensor:
    """Mean -log p (nats) of the targets."""
    with compute.autocast():
        logits_BCV = network(input_ids=inputs_BC, use_cache=False).logits
    targets_BC = targets_BC.to(logits_BCV.device)
    return functional.cross_entropy(
        at_least_float32(logits_BCV).flatten(0, 1), targets_BC.flatten()
    )


def draw_windows(
    ids_N: Tensor, start_token: int, recipe: Recipe, step: int
) -> tuple[Tensor, Tensor]:
    """Draw the windows of a step: inputs (B, C) and the tokens that follow them (B, C).

    The same for each size. Every other window begins with the start token, in place of
    the token that stands before its first target: a sample begins with the start token,
    a window in the middle of an evaluation does not, and the model must know both.
    """
    last = len(ids_N) - recipe.context  # starts 0 .. last - 1
    numbers = rng.stream(recipe.seed, "pretrain", step)
    starts_B = torch.randint(last, (recipe.batch,), generator=numbers)
    index_BC = starts_B[:, None] + torch.arange(recipe.context)
    inputs_BC = ids_N[index_BC]
    inputs_BC[::2, 0] = start_token
    return inputs_BC, ids_N[index_BC + 1]


def rate_share(index: int, recipe: Recipe) -> float:
    """Share of the peak learning rate of a size at step index + 1.

    Linear from 1/warmup_steps to 1, then a cosine that ends at `final_rate` on the last
    step (Loshchilov and Hutter 2017, without restarts).
    """
    warmup = recipe.warmup_steps
    if index < warmup:
        return (index + 1) / warmup
    progress = (index - warmup) / max(1, recipe.steps - 1 - warmup)
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return recipe.final_rate + (1 - recipe.final_rate) * cosine


def _require_finite(learned: Learned) -> None:
    if not (math.isfinite(learned.loss) and math.isfinite(learned.grad_norm)):
        raise UserError.single(
            f"learning_rate, step {learned.step}",
            f"a loss of {learned.loss} and a gradient norm of {learned.grad_norm}",
            "a training that converges",
            f"a learning rate below {learned.lr:g}, or more warmup",
        )
