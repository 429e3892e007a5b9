"""Dropout in the training step, from a random stream of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from collapse_lm import rng


@contextmanager
def with_dropout(network: Any, seed: int, update: int) -> Iterator[None]:
    """Let a network drop at its own rates, for the body of a with statement.

    Args:
        network: of transformers, in evaluation mode, to which it returns.
        seed: of the run.
        update: of the steps, which read one stream one after the other.
    """
    with rng.as_global(seed, "dropout", update, network.device):
        network.train()
        try:
            yield
        finally:
            network.eval()
