"""Named random streams: the only source of random numbers in the project.

A stream depends on (run seed, purpose, update) alone, so there is no generator
state to checkpoint, an evaluation cannot disturb training, and update u draws the
same numbers on every device and after every resume. Knows nothing of models.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # analysis draws numbers too, and must not wait for torch
    import torch

Purpose = Literal[
    "sample",
    "window",
    "source",
    "probe",
    "prompt",
    "dropout",
    "objective",
    "direction",
    "init",
    "bootstrap",
    "pretrain",
]


def stream(seed: int, purpose: Purpose, update: int = 0, *more: int) -> "torch.Generator":
    """Return a fresh CPU generator for one purpose of one update.

    Its 64-bit seed is `_derive`'s, read as a signed number.

    Args:
        seed: of the run.
        purpose: of the numbers.
        update: they are drawn in.
        more: tell several streams of one purpose in one update apart (a source within a
            source, a draw that is repeated); none for the first.
    """
    import torch

    number = int.from_bytes(_derive(seed, purpose, update, *more), "little", signed=True)
    return torch.Generator(device="cpu").manual_seed(number)


def numpy_stream(seed: int, purpose: Purpose, update: int = 0) -> np.random.Generator:
    """Return a fresh numpy generator (PCG64) for one purpose of one update; needs no torch.

    Its numbers are not those of `stream` of the same name.
    """
    number = int.from_bytes(_derive(seed, purpose, update), "little")
    return np.random.Generator(np.random.PCG64(number))


@contextmanager
def as_global(seed: int, purpose: Purpose, update: int, device: "torch.device") -> Iterator[None]:
    """Let torch's global generators give a stream, for the body of a with statement.

    For operations that take no generator (dropout). They are put back afterwards, so that
    nothing else sees a change.
    """
    import torch

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(stream(seed, purpose, update).initial_seed())
        yield


def uniforms(generator: "torch.Generator", rows: int, columns: int) -> "torch.Tensor":
    """Draw float64 numbers in [0, 1), shape (rows, columns), on the CPU."""
    import torch

    return torch.rand(rows, columns, generator=generator, dtype=torch.float64)


def _derive(seed: int, purpose: Purpose, update: int, *more: int) -> bytes:
    """Hash a name to 8 bytes: BLAKE2b of ``seed/purpose/update``, and ``/N`` for each of `more`.

    Unlike Python's ``hash``, it is the same in every process.
    """
    name = "/".join(map(str, (seed, purpose, update, *more)))
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
