"""A model that is ready to be used: loaded, on its device, in its number formats."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from collapse_lm.config import Config
from collapse_lm.config.schema import TrainingConfig
from collapse_lm.experiment.ema import Averaged
from collapse_lm.experiment.lora import Adapted, require_peft
from collapse_lm.experiment.models import Follower, Models, Saved
from collapse_lm.inference import Network, inference_network, reads_compiled
from collapse_lm.machine.allocator import keep_freed_memory
from collapse_lm.machine.compute import Phases, choose_device, choose_phases
from collapse_lm.models.load import LanguageModel, load_model
from collapse_lm.models.own_code import own_code

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """The networks of a run, which are one unless adapters are trained or an average is kept.

    Attributes:
        trained: what steps change.
        effective: what samples, is measured and is exported.
        followers: what follows the trained one, in order.
    """

    trained: Any
    effective: Any
    followers: tuple[Follower, ...] = ()

    @property
    def average(self) -> Averaged | None:
        """The moving average, where one is kept."""
        return next((one for one in self.followers if isinstance(one, Averaged)), None)

    @property
    def reported(self) -> Any:
        """The averaged network, where it does not sample; else None."""
        network = self.average.network if self.average else None
        return None if network is self.effective else network

    @classmethod
    def of(cls, network: Any, training: TrainingConfig, seed: int) -> "Weights":
        """Add to a network what a configuration asks for; all are equal as yet.

        Raises:
            UserError: for adapters that cannot be had.
        """
        trained, effective = network, network
        followers: list[Follower] = []
        if training.lora is not None:
            adapted = Adapted(network, training.lora, seed)
            trained = adapted.trained
            followers.append(adapted)
        if training.ema is not None:
            averaged = Averaged(effective, training.ema.decay)
            effective = averaged.network if training.ema.sample else effective
            followers.append(averaged)
        return cls(trained, effective, tuple(followers))


@dataclass(frozen=True)
class ReadyModel:
    """A model on its device.

    Attributes:
        model: network (the effective one), tokenizer and provenance.
        phases: device and precision.
        sampler: the weights that sample.
        evaluator: the weights that are measured; the sampler, in the same precision.
        weights: which networks are trained, sample and follow.
    """

    model: LanguageModel
    phases: Phases
    sampler: Network
    evaluator: Network
    weights: Weights


def ready_model(
    config: Config, phases: Phases | None = None, *, decodes: bool = True
) -> ReadyModel:
    """Load the model of a configuration in its precision, or in the one given.

    Args:
        config: names the model.
        phases: device and precision, where they are known.
        decodes: false where nothing will be drawn (see `inference_network`).

    Raises:
        UserError: for a model or adapters that cannot be had.
    """
    keep_freed_memory()
    if config.training.lora is not None:
        require_peft()  # before a model is loaded
    device = phases.device if phases else choose_device(config.device)
    model = load_model(config.model)
    with own_code(config.model, "its first passes"):
        network = model.network.to(device)
        weights = Weights.of(network, config.training, config.seed)
        phases = phases or phases_of_config(config, network)
        sampler = inference_network(weights.effective, phases.sampling, decodes=decodes)
        is_same = phases.evaluation == phases.sampling
        evaluator = sampler if is_same else inference_network(weights.effective, phases.evaluation)
    return ReadyModel(
        replace(model, network=weights.effective), phases, sampler, evaluator, weights
    )


def models_of(config: Config, ready: ReadyModel) -> Models:
    """The models of a run: what samples, what is measured, what is trained, and θ_0 on demand."""
    phases = ready.phases
    models = Models(
        trained=ready.weights.trained,
        sampler=ready.sampler,
        load_base=_base_loader(config, replace(phases, sampling=phases.evaluation), decodes=False),
        evaluator=ready.evaluator,
        followers=ready.weights.followers,
        trains_all=config.training.lora is None,
    )
    # In float32 what draws holds a copy for it, which what is only measured does without.
    if phases.sampling != phases.evaluation or phases.sampling == "float32":
        as_sampled = replace(phases, evaluation=phases.sampling)
        models.load_base_sampler = _base_loader(config, as_sampled, decodes=True)
    return models


def _base_loader(config: Config, phases: Phases, *, decodes: bool) -> Callable[[], Network]:
    """What makes θ_0 in the one number format of phases that sample and evaluate alike."""
    training = config.training.model_copy(update={"ema": None, "lora": None})
    plain = config.model_copy(update={"training": training})

    def load() -> Network:
        base = ready_model(plain, phases, decodes=decodes).evaluator
        base.freeze()
        return base

    return load


def first_weights(config: Config, device: torch.device) -> Callable[[], Saved]:
    """What gives the trained parameters as they are before the first update, loaded again."""
    training = config.training.model_copy(update={"ema": None})

    def load() -> Saved:
        network = load_model(config.model).network.to(device)
        trained = Weights.of(network, training, config.seed).trained
        is_all = training.lora is None
        named = trained.named_parameters()
        return {name: p.detach() for name, p in named if is_all or p.requires_grad}

    return load


def phases_of_config(config: Config, network: Any) -> Phases:
    """Decide the number formats for a network where it lies; what will be slow is told."""
    device = next(network.parameters()).device
    phases = choose_phases(config.precision.words, device, lambda: reads_compiled(network))
    for phase in phases.emulated:
        message = "precision.%s is bfloat16 %s: tens to hundreds of times slower than float32"
        _LOG.warning(message, phase, phases.reasons[phase])
    return phases
