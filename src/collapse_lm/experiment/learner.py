"""The learner: the optimizer steps of an update on the texts that were drawn for it.

Forward, loss, backward, clip, step. Knows nothing of where the text came from, nor of
evaluation.

Shapes: T targets, S tokens before them, V vocabulary, D width.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from collapse_lm import rng
from collapse_lm.config.schema import TrainingConfig
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Generation
from collapse_lm.experiment.dropout import with_dropout
from collapse_lm.experiment.krause import GradientStatistics
from collapse_lm.experiment.lent import lent
from collapse_lm.experiment.models import Models
from collapse_lm.experiment.objectives import Chunk, NegativeLogLikelihood, Objective, Telling
from collapse_lm.experiment.optimizer import clip, gradient_norm
from collapse_lm.experiment.schedule import factor
from collapse_lm.experiment.segments import Segment, choose_segment, retokenize
from collapse_lm.experiment.steps import begin_update
from collapse_lm.inference import Network, head_is_plain
from collapse_lm.machine.compute import Compute, at_least_float32
from collapse_lm.measures.names import Number
from collapse_lm.models.embeddings import check_ids

_CHUNK = 256  # positions whose logits exist at a time


@dataclass(frozen=True)
class Step:
    """Outcome of a step, or of the steps of an update.

    Attributes:
        loss: mean nats per token over all targets, before the step, whatever the objective;
            under dropout that of the network that dropped.
        grad_norm: L2 norm of the gradient before the clip.
        applied: False when loss or gradient was not finite; the step was then withheld.
        steps: steps that were applied.
        learning_rate: of the first of them.
        is_noisy: True where the loss is not that of the model that draws: under dropout, and
            where an average of the weights draws.
        objective: mean of what was minimised, in nats per token; None where that is the loss.
        told: what the objective has to tell, by the names of a row.
    """

    loss: float
    grad_norm: float
    applied: bool
    steps: int = 1
    learning_rate: float = math.nan
    is_noisy: bool = False
    objective: float | None = None
    told: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Learner:
    """Takes the optimizer steps of an update on the texts of its batch.

    Attributes:
        training: window, re-tokenization, dropout, steps per update, clip.
        optimizer: over the trained parameters.
        objective: what a step minimises.
        tokenizer: for re-tokenization.
        max_positions: longest sequence that the model accepts; None if unbounded.
        compute: device and precision.
        seed: of the run; windows are drawn from its stream `window`, what is dropped from
            its stream `dropout`.
        statistics: of the gradients of a text, which the optimizer wants before its first step;
            None where it wants none.
    """

    training: TrainingConfig
    optimizer: torch.optim.Optimizer
    objective: Objective
    tokenizer: Any
    max_positions: int | None
    compute: Compute
    seed: int
    statistics: GradientStatistics | None = None

    def learn(self, models: Models, batch: Batch, update: int) -> Step:
        """Take the steps of an update, and let the sampler take over the weights.

        Returns:
            Loss and gradient norm of the first step; of the step that was withheld, where
            one was.
        """
        numbers = rng.stream(self.seed, "window", update)
        begin_update(self.optimizer, self.seed, update, self._rate(update, batch.generation))
        rate = float(self.optimizer.param_groups[0]["lr"])
        self._check(batch)
        texts = [(text.prompt, self._learned(text.prompt, text.ids)) for text in batch.texts]
        for prompt, ids in texts:
            check_ids("source", (*prompt, *ids), models.trained, self.tokenizer)
        if self.objective.needs_base:
            models.base()  # loaded here, where that uses up no number of dropout
        if self.statistics is not None:
            self.statistics(lambda batch: self._gradients(models, batch, update))
        steps: list[Step] = []
        ema, drops = self.training.ema, self.training.dropout
        is_noisy = drops or (ema is not None and ema.sample)
        with with_dropout(models.trained, self.seed, update) if drops else nullcontext():
            while len(steps) < self.training.steps_per_update and all(s.applied for s in steps):
                window = self.training.window
                segments = [choose_segment(prompt, ids, window, numbers) for prompt, ids in texts]
                asked = self.asked(models, update, is_fresh=not steps)
                steps.append(self._step(models.trained, segments, asked))
        if any(step.applied for step in steps):
            models.follow()
        told = steps[0] if steps[-1].applied else steps[-1]
        applied = sum(step.applied for step in steps)
        told = replace(told, learning_rate=rate, is_noisy=is_noisy)
        return replace(told, applied=steps[-1].applied, steps=applied)

    def _rate(self, update: int, within: Generation | None) -> float | None:
        """The learning rate of an update; None where no schedule moves it."""
        schedule, highest = self.training.schedule, self.training.learning_rate
        if not schedule.moves_the_rate:
            return None
        if within is not None:
            return highest * factor(schedule, within.update, within.updates)
        return highest * factor(schedule, update)

    def asked(self, models: Models, update: int, *, is_fresh: bool = True) -> "Asked":
        """What a step of an update is asked; copies only while they are as the weights are."""
        lends = is_fresh and self.compute.precision == "bfloat16"
        base = models.base() if self.objective.needs_base else None
        return Asked(self.objective, update, base, models.copies() if lends else {})

    def _gradients(self, models: Models, batch: Sequence[Segment], update: int) -> None:
        """Add the gradient of the plain loss on segments."""
        asked = replace(self.asked(models, update), objective=NegativeLogLikelihood(), base=None)
        gradients(models.trained, batch, self.compute, asked)

    def _check(self, batch: Batch) -> None:
        """Refuse a batch that no step can be taken on."""
        if not all(text.prompt and text.ids for text in batch.texts) or not batch.texts:
            raise UserError.single(
                "source",
                _fault(batch),
                "texts of one token at least, each behind a prompt of one token at least",
                "see docs/extending.md on what a source returns",
            )
        longest = max(len(text.prompt) + len(text.ids) - 1 for text in batch.texts)
        if self.training.window is None and longest > (self.max_positions or sys.maxsize):
            raise UserError.single(
                "source",
                f"a text of {longest} positions",
                f"at most {self.max_positions}, the positions of the model",
                "shorter texts, or training.window",
            )

    def _learned(self, prompt: tuple[int, ...], ids: tuple[int, ...]) -> tuple[int, ...]:
        """The ids to learn of a text."""
        if not self.training.retokenize:
            return ids
        longest = (self.max_positions or sys.maxsize) - len(prompt) + 1
        return retokenize(self.tokenizer, ids)[:longest]

    def _step(self, network: Any, segments: Sequence[Segment], asked: "Asked") -> Step:
        clip_at = self.training.grad_clip
        return train_step(network, self.optimizer, segments, self.compute, clip_at, asked)


def _fault(batch: Batch) -> str:
    """What is wrong with a batch that no step can be taken on."""
    if not batch.tokens:
        return "a batch with nothing to learn"
    is_promptless = any(not text.prompt for text in batch.texts)
    return "a text without a prompt" if is_promptless else "a text of no tokens"


@dataclass(frozen=True)
class Asked:
    """An objective, and what a step needs beside the trained model.

    Attributes:
        objective: that is minimised.
        update: number of the update.
        base: the base model, where the objective needs it.
        copies: of weights as they are now, which the forward pass reads (see `lent`).
    """

    objective: Objective
    update: int = 0
    base: Network | None = None
    copies: Mapping[int, Tensor] = field(default_factory=dict)


def train_step(
    network: Any,
    optimizer: torch.optim.Optimizer,
    segments: Sequence[Segment],
    compute: Compute,
    grad_clip: float | None,
    asked: Asked | None = None,
) -> Step:
    """Take one optimizer step on the mean objective over the targets of all segments.

    Gradients accumulate over the segments, so that one forward holds one segment.

    Args:
        network: the trained model.
        optimizer: over its parameters.
        segments: what to learn.
        compute: device and precision of the forward pass.
        grad_clip: largest L2 norm of the gradient; None does not clip.
        asked: the objective; by default the negative log-likelihood.
    """
    asked = asked or Asked(NegativeLogLikelihood())
    loss, objective = gradients(network, segments, compute, asked)
    grad_norm = gradient_norm(network)
    applied = math.isfinite(loss) and math.isfinite(grad_norm)
    if applied:
        with clip(optimizer, grad_norm, grad_clip):
            optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    step = Step(loss, grad_norm, applied, int(applied))
    if isinstance(asked.objective, NegativeLogLikelihood):
        return step
    told = asked.objective.values() if isinstance(asked.objective, Telling) else {}
    return replace(step, objective=objective, told=told)


def gradients(
    network: Any, segments: Sequence[Segment], compute: Compute, asked: Asked
) -> tuple[float, float]:
    """Add the gradient of the mean objective over the targets of all segments.

    Returns:
        The plain loss and the objective, in nats per token.
    """
    total = sum(len(segment.targets) for segment in segments)
    if asked.copies:
        head_is_plain(network)  # tried outside of autocast, so before they are lent
    with lent(network, asked.copies):
        parts = [_accumulate(network, segment, compute, total, asked) for segment in segments]
    return sum(nll for nll, _ in parts), sum(objective for _, objective in parts)


def _accumulate(
    network: Any, segment: Segment, compute: Compute, total: int, asked: Asked
) -> tuple[float, float]:
    """Add a segment's share of the gradient; return its share of the plain loss and objective.

    Where the logits are the head of the last hidden state, they exist for a few hundred
    positions at a time: each chunk goes back to the hidden states at once, and these go
    back through the body together.
    """
    ids_S = torch.tensor(segment.context + segment.targets, device=network.device)
    count = len(segment.targets)
    chunks = _Chunks(ids_S, len(ids_S) - count, asked)
    if count <= _CHUNK or not head_is_plain(network):
        with compute.autocast():
            chunk = chunks.next(_logits(network, ids_S, count))
            loss = asked.objective(chunk) / total
        torch.autograd.backward(loss)
        return _shares(chunk, loss, total)
    with compute.autocast():
        body = network.base_model(input_ids=ids_S[None, :-1], use_cache=False)
    hidden_TD = body.last_hidden_state[0, -count:]
    leaf_TD = hidden_TD.detach().requires_grad_()
    nll_share, objective_share = 0.0, 0.0
    for hidden in torch.split(leaf_TD, _CHUNK):
        with compute.autocast():
            chunk = chunks.next(network.get_output_embeddings()(hidden))
            loss = asked.objective(chunk) / total
        torch.autograd.backward(loss)
        nll, objective = _shares(chunk, loss, total)
        nll_share, objective_share = nll_share + nll, objective_share + objective
    torch.autograd.backward(hidden_TD, leaf_TD.grad)
    return nll_share, objective_share


def _shares(chunk: Chunk, loss: Tensor, total: int) -> tuple[float, float]:
    """The shares of a chunk in the plain loss and in what is minimised."""
    return float(chunk.nll.detach() / total), float(loss.detach())


class _Chunks:
    """The chunks of one text, in order."""

    def __init__(self, ids_S: Tensor, start: int, asked: Asked) -> None:
        self._ids_S, self._start, self._asked = ids_S, start, asked
        base = asked.base
        self._base_SD = None if base is None else base.hidden(ids_S[None, :-1])[0]

    def next(self, logits_TV: Tensor) -> Chunk:
        """Describe the next targets, one per row of the logits."""
        start, end = self._start, self._start + len(logits_TV)
        self._start = end
        targets_T, base_TV = self._ids_S[start:end], None
        if self._base_SD is not None and self._asked.base is not None:
            logits = self._asked.base.logits(self._base_SD[start - 1 : end - 1])
            base_TV = logits.clone()  # of an inference pass, which autograd may not hold
        nll = _cross_entropy_sum(logits_TV, targets_T)
        return Chunk(logits_TV, targets_T, self._ids_S[:start], nll, base_TV, self._asked.update)


def _logits(network: Any, ids_S: Tensor, count: int) -> Tensor:
    """The logits (T, V) that predict the last `count` ids."""
    logits: Tensor = network(
        input_ids=ids_S[None, :-1], use_cache=False, logits_to_keep=count
    ).logits[0, -count:]  # of some, `logits_to_keep` is without effect
    return logits


def _cross_entropy_sum(logits_TV: Tensor, targets_T: Tensor) -> Tensor:
    return functional.cross_entropy(at_least_float32(logits_TV), targets_T, reduction="sum")
