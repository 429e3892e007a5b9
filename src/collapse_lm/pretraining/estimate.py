"""How long a ladder takes to train, from a few steps of each size."""

from itertools import islice
from pathlib import Path

import torch

from collapse_lm.machine.compute import choose_device, choose_precision
from collapse_lm.machine.processor import Estimate, OtherWork, seconds_of
from collapse_lm.pretraining.network import make_network
from collapse_lm.pretraining.recipe import Recipe, Size
from collapse_lm.pretraining.train import pretrain


def sizes_to_make(recipe: Recipe, folder: Path) -> list[Size]:
    """The sizes of a ladder that its folder does not hold."""
    return [size for size in recipe.ladder if not (folder / str(size)).is_dir()]


def training_time(recipe: Recipe, sizes: list[Size]) -> Estimate:
    """Time of the steps of each size, on tokens that mean nothing."""
    work = OtherWork()
    return work.estimate(sum(recipe.steps * _step(size, recipe) for size in sizes))


def _step(size: Size, recipe: Recipe) -> float:
    """Seconds of an optimizer step."""
    compute = choose_precision(recipe.precision, choose_device())
    network = make_network(size, recipe, recipe.vocabulary, 0).to(compute.device)
    ids_N = torch.arange(2 * recipe.context) % recipe.vocabulary
    few = recipe.model_copy(update={"tokens": 3 * recipe.batch * recipe.context})
    steps = islice(pretrain(network, ids_N, 0, few, compute), 3)
    return seconds_of(lambda: next(steps))
